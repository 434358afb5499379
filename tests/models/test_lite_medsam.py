import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_vit_reference import PublishedTinyViT

from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.export.float_weights import write_float_weights
from adaloraqat.models.checkpoints import load_base, save_base
from adaloraqat.models.families import build, resize_model
from adaloraqat.models.lite_medsam import LiteMedSam, build_lite_medsam, with_fine_grid
from adaloraqat.models.lite_medsam_architecture import LiteMedSAMArchitecture
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import architecture_of, count_parameters, decode, encode
from adaloraqat.models.weight_naming import infer_lite_medsam, tiny_vit_name, to_transformers, without_derived
from adaloraqat.training.structure import usual_preprocessing

SMALL = PublishedTinyViT(
    dims=(8, 12, 16, 320), depths=(1, 1, 2, 1), heads=(1, 2, 2, 5), windows=(3, 3, 4, 3), out=32
)
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture
def published(meta_sam):
    """A small file in LiteMedSAM's naming; prompts and decoder as segment-anything names them."""

    def make(encoder=SMALL) -> dict[str, torch.Tensor]:
        sam = meta_sam(prompt=encoder.out)
        rest = {name: t for name, t in sam.weights().items() if not name.startswith("image_encoder.")}
        return {**encoder.weights(), **rest}

    return make


def write(tmp_path: Path, content: object) -> Path:
    torch.save(content, tmp_path / "lite_medsam.pth")
    return tmp_path / "lite_medsam.pth"


@pytest.mark.parametrize(("name", "kernel"), [("lite_medsam", 1), ("mobile_sam", 3)])
def test_every_published_tensor_has_its_place_and_shape(meta_sam, name: str, kernel: int) -> None:
    sam = meta_sam(prompt=256, mlp=2048, quality_width=256)
    shapes = PublishedTinyViT(kernel=kernel).shapes()
    shapes |= {n: shape for n, shape in sam.shapes().items() if not n.startswith("image_encoder.")}
    state = {n: torch.empty(shape, device="meta") for n, shape in shapes.items()}
    assert infer_lite_medsam(state, "file") == architecture(name)
    named = to_transformers(state, "file", tiny_vit_name)
    with torch.device("meta"):
        expected = build(architecture(name).to_dict()).state_dict()
    expected.pop("prompt_encoder.shared_embedding.positional_embedding")
    assert {n: tuple(t.shape) for n, t in named.items()} == {n: tuple(t.shape) for n, t in expected.items()}


def test_parameters_are_as_published() -> None:
    with torch.device("meta"):
        counts = count_parameters(build(architecture("lite_medsam").to_dict()))
    learnt = sum(
        torch.Size(shape).numel()
        for name, shape in PublishedTinyViT().shapes().items()
        if not name.endswith(BUFFERS)
    )
    assert counts["encoder"] == learnt == 5_726_740  # 5.7 M
    assert counts["prompt_encoder"] - 256 == 6_220  # 6.2 K beside the fixed frequencies
    assert counts["mask_decoder"] == 4_058_340  # 4.1 M


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_published_file_computes_what_the_published_arithmetic_computes(
    tmp_path: Path, published, meta_sam, kernel: int, attention: str
) -> None:
    encoder = replace(SMALL, kernel=kernel)
    state = published(encoder)
    size = 32 if kernel == 1 else 128  # grids 32, 16, 8, 8 both: windows of 3 are padded
    model = load_base(write(tmp_path, state), image_size=size)
    assert isinstance(model, LiteMedSam)
    for module in model.vision_encoder.modules():
        if hasattr(module, "fused"):
            module.fused = attention == "sdpa"
    image = torch.rand(3, size, size, generator=torch.Generator().manual_seed(3))
    box = torch.tensor([3.0, 4.0, size - 6.0, size - 2.0])
    with torch.no_grad():
        embedding = encode(model, image[None])
        logits, quality = decode(model, embedding, box[None, None])
        wanted = encoder.embed(state, image)
        sam = meta_sam(prompt=encoder.out, image_size=size, patch=size // 8)
        wanted_logits, wanted_quality = sam._decode(state, wanted, box)
    torch.testing.assert_close(embedding[0], wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits[0, 0], wanted_logits, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(quality[0, 0], wanted_quality, rtol=1e-3, atol=1e-3)


def test_wrappers_the_classifier_and_derived_tables_are_taken_off(tmp_path: Path, published) -> None:
    state = published(replace(SMALL, kernel=3))
    plain = load_base(write(tmp_path, state)).state_dict()
    biases = state["image_encoder.layers.1.blocks.0.attn.attention_biases"]
    index = torch.tensor(
        [[abs(a // 3 - b // 3) * 3 + abs(a % 3 - b % 3) for b in range(9)] for a in range(9)]
    )
    more = {
        "image_encoder.norm_head.weight": torch.ones(320),
        "image_encoder.head.weight": torch.ones(1000, 320),
        "image_encoder.layers.1.blocks.0.attn.attention_bias_idxs": index,
        "image_encoder.layers.1.blocks.0.attn.ab": biases[:, index],
    }
    wrapped = {"model": {f"module.{n}": t for n, t in {**state, **more}.items()}, "epoch": 3}
    model = load_base(write(tmp_path, wrapped))
    assert architecture_of(model)["image_size"] == 1024
    assert all(torch.equal(tensor, plain[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(CheckpointError, match="attention_bias_idxs"):
        without_derived(
            {**state, "image_encoder.layers.1.blocks.0.attn.attention_bias_idxs": index.flip(0)}, "file"
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("image_encoder.layers.2.blocks.1.mlp.fc1.bias"), "lacks 1 tensor"),
        (
            lambda s: s.update({"image_encoder.layers.2.blocks.1.mlp.fc3.bias": torch.ones(2)}),
            "does not have",
        ),
        (lambda s: s.pop("image_encoder.patch_embed.seq.2.c.weight"), "architecture cannot be read"),
        (lambda s: s.update({"image_encoder.neck.0.weight": torch.ones(32, 8, 1, 1)}), "with shape"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, published, change, message: str) -> None:
    state = published()
    change(state)
    with pytest.raises(CheckpointError, match=message):
        load_base(write(tmp_path, state))


def tiny() -> LiteMedSam:
    torch.manual_seed(0)
    model = build_lite_medsam(architecture("lite_medsam_tiny")).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2.0)
            module.running_mean.normal_(std=0.1)
            torch.nn.init.normal_(module.weight, 1.0, 0.1)
    return model


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_saved_and_read_again(tmp_path: Path, half: bool) -> None:
    model = tiny()
    save_base(model, tmp_path / "base", half)
    again = load_base(tmp_path / "base")
    assert architecture_of(again) == architecture_of(model)
    for name, tensor in again.state_dict().items():
        assert tensor.dtype == model.state_dict()[name].dtype
        torch.testing.assert_close(
            tensor, model.state_dict()[name], rtol=1e-3 if half else 0, atol=1e-7 if half else 0
        )
    larger = load_base(tmp_path / "base", image_size=96)
    assert encode(larger, torch.zeros(1, 1, 96, 96)).shape == (1, 32, 12, 12)


def test_transformers_itself_reads_the_folder_as_its_readme_says(tmp_path: Path) -> None:
    """Once the package is imported, which alone makes the kind known to it."""
    model = tiny().eval()
    sentence = write_float_weights(model, tmp_path / "base")
    readme = (tmp_path / "base/README.md").read_text()
    assert sentence in readme
    assert "SamModel" not in readme
    assert {path.name for path in (tmp_path / "base").iterdir()} == {
        "README.md", "config.json", "model.safetensors",
    }  # fmt: skip
    assert "auto_map" not in (tmp_path / "base/config.json").read_text()
    (code,) = re.findall("```python\n(.*?)```", readme, re.DOTALL)
    script = (
        "from transformers import AutoModel\n"
        "try: AutoModel.from_pretrained('base')\n"
        "except ValueError as error: print(error)\n"
        f"{code}\nimport torch\nfrom adaloraqat.models.sam import encode\n"
        "torch.save(encode(model, torch.ones(1, 1, 64, 64)), 'embedding.pt')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "lite_medsam" in ended.stdout  # which transformers alone does not know
    with torch.no_grad():
        expected = encode(model, torch.ones(1, 1, 64, 64))
    torch.testing.assert_close(torch.load(tmp_path / "embedding.pt"), expected)


def test_another_size_keeps_every_weight_and_what_is_frozen() -> None:
    model = tiny()
    model.vision_encoder.neck.requires_grad_(False)
    resized = resize_model(model, 128)
    assert architecture_of(resized) == {**architecture_of(model), "image_size": 128}
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in resized.state_dict().items())
    assert not resized.vision_encoder.neck.conv1.weight.requires_grad
    embedding = encode(resized, torch.zeros(1, 1, 128, 128))
    logits, _ = decode(resized, embedding, torch.tensor([[[0.0, 0.0, 128.0, 128.0]]]))
    assert logits.shape == (1, 1, 64, 64)


def test_a_frozen_encoder_keeps_its_statistics_in_training_mode() -> None:
    model = tiny().train()
    before = {n: b.clone() for n, b in model.vision_encoder.named_buffers()}
    model.vision_encoder.requires_grad_(False)
    encode(model, torch.rand(2, 1, 64, 64))
    assert all(torch.equal(b, before[n]) for n, b in model.vision_encoder.named_buffers())
    model.vision_encoder.requires_grad_(True)
    encode(model, torch.rand(2, 1, 64, 64))
    assert not any(torch.equal(b, before[n]) for n, b in model.vision_encoder.named_buffers())


def test_a_fine_grid_answers_at_first_as_before_and_has_the_grid_of_stage_0() -> None:
    model = tiny()
    finer = with_fine_grid(model, seed=0).eval()
    image = torch.rand(2, 1, 64, 64)
    before, embedding = encode(model, image), encode(finer, image)
    assert (before.shape[-1], embedding.shape[-1]) == (8, 16)
    torch.testing.assert_close(
        embedding, F.interpolate(before, size=(16, 16), mode="bilinear", align_corners=False)
    )
    assert all(torch.equal(t, finer.state_dict()[n]) for n, t in model.state_dict().items())
    logits, _ = decode(finer, embedding, torch.tensor([[[0.0, 0.0, 64.0, 64.0]]] * 2))
    assert logits.shape == (2, 1, 64, 64)
    again = build(architecture_of(finer))
    again.load_state_dict(finer.state_dict())
    torch.testing.assert_close(encode(again.eval(), image), embedding)


def test_a_fine_grid_sees_what_the_coarse_one_cannot() -> None:
    """One pixel of stage 0 changes the embedding there by more than its resampled part does."""
    finer = with_fine_grid(tiny(), seed=0).eval()
    torch.nn.init.ones_(finer.vision_encoder.fine.conv3.bn.weight)
    seen = torch.zeros(1, 16, 16, 16)
    seen[:, :, 7, 7] = 5
    coarse = torch.zeros(1, 32, 8, 8)
    change = finer.vision_encoder.fine(coarse, seen) - finer.vision_encoder.fine(
        coarse, torch.zeros_like(seen)
    )
    assert change[0, :, 7, 7].abs().max() > 1e-3
    far = change[0].abs().amax(0)
    far[6:9, 6:9] = 0
    assert far.max() < 1e-6


@pytest.mark.parametrize("fine_grid", [False, True])
def test_every_weight_of_the_encoder_learns(fine_grid: bool) -> None:
    model = tiny()
    if fine_grid:
        model = with_fine_grid(model, seed=0)
        torch.nn.init.ones_(model.vision_encoder.fine.conv3.bn.weight)
    encode(model, torch.rand(2, 1, 64, 64)).square().sum().backward()
    assert [n for n, p in model.vision_encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"patch_stride": 2},
        {"image_size": 100, "patch_stride": 4},
        {"depths": [2, 2]},
        {"num_heads": [2, 3, 5, 10]},
        {"merge_strides": [2, 2, 0]},
        {"fine_grid": 1},
        {"width": 3},
        {"family": "sam"},
        {"prompt_dim": 12},
    ],
)
def test_measures_that_do_not_fit_are_refused(changes: dict) -> None:
    with pytest.raises(RecipeError):
        LiteMedSAMArchitecture.from_dict({**architecture("lite_medsam").to_dict(), **changes})


def test_intensities_stay_in_zero_to_one() -> None:
    """The public inference code normalises to [0, 1] and pads with 0; no ImageNet mean."""
    preprocessing = usual_preprocessing(architecture("lite_medsam").to_dict())
    image, _ = preprocessing(torch.linspace(0, 1, 300 * 200).reshape(300, 200).numpy())
    assert image.shape == (3, 256, 256)
    assert image.min() == 0
    assert image.max() == 1
    assert not image[:, :, 171:].any()
