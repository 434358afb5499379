from copy import deepcopy
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from adaloraqat.errors import RecipeError
from adaloraqat.lowrank.lora import add_lora, lora_layers, merge_lora, save_lora
from adaloraqat.models.families import build
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import TINY, build_sam, decode, encode

IMAGE = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
BOX = torch.tensor([[[4.0, 5.0, 60.0, 50.0]]])


@pytest.fixture
def base():
    torch.manual_seed(0)
    return build_sam(TINY).eval()


def test_a_lite_medsam_takes_a_lora_too() -> None:
    model = build(architecture("lite_medsam_tiny").to_dict()).eval()
    before = answer(model)
    add_lora(model, rank=4, alpha=4, seed=3)
    assert torch.equal(answer(model), before)
    assert len(lora_layers(model)) == 4  # the blocks of stages 1 to 3; stage 0 has no attention
    train_a_little(model)
    adapted = answer(model)
    assert not torch.allclose(adapted, before, atol=1e-4)
    merge_lora(model)
    torch.testing.assert_close(answer(model), adapted, atol=1e-4, rtol=1e-4)


def train_a_little(model) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B["default"].weight.normal_(std=0.1)


def answer(model) -> torch.Tensor:
    with torch.no_grad():
        return decode(model, encode(model, IMAGE), BOX)[0]


def test_it_starts_as_its_base_bit_for_bit_and_leaves_the_global_seed(base) -> None:
    before, state = answer(base), torch.random.get_rng_state()
    add_lora(base, rank=4, alpha=8, seed=3)
    assert torch.equal(answer(base), before)
    assert torch.equal(torch.random.get_rng_state(), state)
    layers = lora_layers(base)
    assert list(layers) == [f"vision_encoder.layers.{i}.attn.qkv" for i in range(2)]
    width = TINY.hidden_size
    assert layers["vision_encoder.layers.0.attn.qkv"].lora_A["default"].weight.shape == (4, width)
    assert layers["vision_encoder.layers.0.attn.qkv"].lora_B["default"].weight.shape == (3 * width, 4)


def test_merging_adds_alpha_over_rank_times_b_a_and_keeps_the_answer(base) -> None:
    weight = base.vision_encoder.layers[0].attn.qkv.weight.detach().clone()
    names = set(base.state_dict())
    add_lora(base, rank=4, alpha=8, seed=3)
    train_a_little(base)
    layer = lora_layers(base)["vision_encoder.layers.0.attn.qkv"]
    delta = 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    adapted = answer(base)
    merge_lora(base)
    assert type(base.vision_encoder.layers[0].attn.qkv) is torch.nn.Linear
    assert set(base.state_dict()) == names
    torch.testing.assert_close(base.vision_encoder.layers[0].attn.qkv.weight, weight + delta)
    torch.testing.assert_close(answer(base), adapted, rtol=1e-4, atol=1e-5)
    merge_lora(base)  # nothing left to do


# peft reads a property that transformers 5 has renamed
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("decoder", [True, False])
def test_peft_loads_the_saved_folder(base, tmp_path: Path, decoder: bool) -> None:
    plain = deepcopy(base)
    add_lora(base, rank=4, alpha=4, seed=3)
    train_a_little(base)
    if decoder:
        with torch.no_grad():
            base.mask_decoder.mask_tokens.weight.add_(0.5)
    save_lora(base, tmp_path / "adapter", 4, 4, decoder=decoder, base="/somewhere/private/base")
    assert "private" not in (tmp_path / "adapter/adapter_config.json").read_text()
    loaded = PeftModel.from_pretrained(plain, tmp_path / "adapter").base_model.model.eval()
    torch.testing.assert_close(answer(loaded), answer(base))


def test_a_network_without_qkv_is_refused() -> None:
    with pytest.raises(RecipeError, match="choose a SAM"):
        add_lora(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3)), 4, 4, 0)


def test_a_lora_that_diverged_is_not_merged(base) -> None:
    add_lora(base, rank=4, alpha=8, seed=3)
    with torch.no_grad():
        next(iter(lora_layers(base).values())).lora_B["default"].weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN"):
        merge_lora(base)
