import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import SamModel

from adaloraqat.errors import OutputError
from adaloraqat.lowrank import adapters_of, add_adapters, save_peft
from adaloraqat.models.families import build
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import decode, encode

Logits = Callable[[nn.Module], Tensor]

# peft 0.21 asks transformers 5 for a property by its old name; the property works.
peft_on_transformers_5 = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)


@torch.no_grad()
def _adapt(model: SamModel) -> None:
    """Ranks 0, 1, 2, 3, 4 and 4, large singular values, and another decoder."""
    generator = torch.Generator().manual_seed(11)
    for rank, adapter in zip((0, 1, 2, 3, 4, 4), add_adapters(model, 4, seed=0).values(), strict=True):
        adapter.singular_values.normal_(generator=generator)
        adapter.mask[rank:] = 0
    for parameter in model.mask_decoder.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


@peft_on_transformers_5
@torch.no_grad()
def test_peft_loads_it_onto_a_plain_sam_with_the_same_masks(
    make_sam: Callable[[], SamModel], logits: Logits, tmp_path: Path
) -> None:
    from peft import PeftModel

    plain = logits(make_sam())
    model = make_sam()
    _adapt(model)
    expected = logits(model)
    save_peft(model, tmp_path)
    loaded = PeftModel.from_pretrained(make_sam(), str(tmp_path))
    answer = logits(loaded)
    torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(answer > 0, expected > 0)
    assert not torch.equal(plain > 0, expected > 0)


@peft_on_transformers_5
@torch.no_grad()
def test_peft_loads_it_onto_a_lite_medsam_whose_qkv_stands_head_by_head(tmp_path: Path) -> None:
    from peft import PeftModel

    def make() -> nn.Module:
        torch.manual_seed(5)
        return build(architecture("lite_medsam_tiny").to_dict()).eval()

    image, box = torch.rand(2, 1, 64, 64), torch.tensor([[[4.0, 5.0, 60.0, 50.0]]]).expand(2, 1, 4)
    model = make()
    for adapter in add_adapters(model, 2, seed=0).values():
        adapter.singular_values.normal_()
    expected = decode(model, encode(model, image), box)[0]
    save_peft(model, tmp_path)
    loaded = PeftModel.from_pretrained(make(), str(tmp_path)).base_model.model.eval()
    torch.testing.assert_close(decode(loaded, encode(loaded, image), box)[0], expected, atol=1e-5, rtol=1e-5)
    plain = make()
    assert not torch.allclose(decode(plain, encode(plain, image), box)[0], expected, atol=1e-3)


@peft_on_transformers_5
@torch.no_grad()
def test_decoder_alone_and_adapters_of_rank_zero_load_too(
    make_sam: Callable[[], SamModel], logits: Logits, tmp_path: Path
) -> None:
    from peft import PeftModel

    model = make_sam()
    _adapt(model)
    for adapter in adapters_of(model).values():
        adapter.mask.zero_()
    save_peft(model, tmp_path)
    loaded = PeftModel.from_pretrained(make_sam(), str(tmp_path))
    torch.testing.assert_close(logits(loaded), logits(model), atol=1e-5, rtol=1e-5)


def test_the_triplet_is_block_structured(sam: SamModel, tmp_path: Path) -> None:
    _adapt(sam)
    save_peft(sam, tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    prefix = "base_model.model.vision_encoder.layers.0.attn.qkv.lora_"
    left, values, right = (tensors[prefix + letter] for letter in "BEA")
    # Block 0 has ranks 0, 1, 2; block 1 has 3, 4, 4, so the common rank is 11.
    assert (left.shape, values.shape, right.shape) == ((96, 11), (11, 1), (11, 32))
    assert not left[:32].any()
    assert left[32:64].any(0).tolist() == [True] + [False] * 10
    assert left[64:].any(0).tolist() == [False, True, True] + [False] * 8
    key = adapters_of(sam)["vision_encoder.layers.0.attn.qkv.k"]
    torch.testing.assert_close(values[0, 0] * 11 / (11 + 1e-5), key.singular_values[0])
    assert any(name.startswith("base_model.model.mask_decoder.") for name in tensors)


def test_no_absolute_path_is_written(sam: SamModel, tmp_path: Path) -> None:
    _adapt(sam)
    for base, kept in (
        (None, None),
        ("facebook/sam-vit-base", "facebook/sam-vit-base"),
        ("/srv/w/sam_b", "sam_b"),
    ):
        save_peft(sam, tmp_path, base)
        assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == kept
    assert sorted(os.listdir(tmp_path)) == ["adapter_config.json", "adapter_model.safetensors"]


def test_a_folder_that_cannot_be_made_is_one_sentence(sam: SamModel, tmp_path: Path) -> None:
    _adapt(sam)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as error:
        save_peft(sam, tmp_path / "file")
    assert str(tmp_path) not in str(error.value)


def test_a_plain_model_is_refused(sam: SamModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no adapters"):
        save_peft(sam, tmp_path)
