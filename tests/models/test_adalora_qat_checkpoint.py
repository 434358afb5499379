"""The reader against an independent forward pass of the published code, on files as that code writes them."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adalora_qat_reference import Reference, Small, cloned, example, prefixed, without_metadata
from transformers import SamModel

from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.models.adalora_qat_checkpoint import read_adalora_qat
from adaloraqat.models.checkpoints import load_base
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize.policy import policy_named
from adaloraqat.quantize.preparation import prepare

CLOSE = 1e-4
"""The logits below spread by 1 to 3; another scaling, mask or number of heads moves them by tenths."""

OTHER = Small(
    image_size=96,
    patch=8,
    hidden=48,
    blocks=3,
    heads=3,
    window=4,
    global_blocks=(0, 2),
    prompt=64,
    rank=9,
    kept=(3, 9, 1),
    alpha=12.0,
    target_rank=8,
    seed=5,
)
BLOCK = "sam.vision_encoder.layers.0.attn.qkv"


def logits(model: SamModel, small: Small) -> torch.Tensor:
    pixels, boxes = example(small)
    with torch.no_grad():
        return decode(model, encode(model, pixels), boxes)[0]


def expect_equal(reference: Reference, path: Path, **options: Any) -> Any:
    """Read a file and hold its answers against the reference's, rounded as its stage rounds."""
    found = read_adalora_qat(path, **options)
    model = prepare(found.model, policy_named("reference-weights")) if reference.stage == 2 else found.model
    theirs = reference.logits(*example(reference.small))
    assert theirs.std() > 0.5
    assert (logits(model, reference.small) - theirs).abs().max() < CLOSE
    return found


@pytest.mark.parametrize("stage", [1, 2])
def test_a_published_file_answers_as_its_own_code(tmp_path: Path, stage: int) -> None:
    reference = Reference(stage=stage)
    found = expect_equal(reference, reference.save(tmp_path))
    assert found.stage == stage
    assert found.whole
    assert found.copied
    assert found.provenance["epoch"] == 7
    assert found.provenance["val_metrics"]["hd95"] == 4.0
    assert found.provenance.get("stage1_dice") == (0.949 if stage == 2 else None)
    assert set(found.rounded) == (set(reference.rounded_names) if stage == 2 else set())
    assert found.scaling.factor == 1
    assert "published" in found.scaling.source
    assert set(found.ranks.values()) == {4}
    assert found.adapter_parameters == 2 * 3 * (2 * 32 * 6 + 6)


@pytest.mark.parametrize("stage", [1, 2])
def test_other_measures_ranks_and_scalings(tmp_path: Path, stage: int) -> None:
    reference = Reference(OTHER, stage)
    found = expect_equal(reference, reference.save(tmp_path), alpha=12, target_rank=8)
    assert found.ranks["vision_encoder.layers.2.attn.qkv.k"] == 9
    assert found.ranks["vision_encoder.layers.2.attn.qkv.v"] == 1
    config = found.model.config.vision_config
    assert (config.window_size, config.global_attn_indexes) == (4, [0, 2])
    wrong = logits(read_adalora_qat(reference.save(tmp_path)).model, OTHER)
    assert stage == 2 or (wrong - reference.logits(*example(OTHER))).abs().max() > 0.1


@pytest.mark.parametrize(
    "small",
    [
        Small(kept=(6, 6, 6)),  # the best epoch came before anything was pruned
        Small(adapted=(1,)),  # never published; the second copy is numbered 0
    ],
)
def test_masks_that_are_all_true_and_a_block_without_adapters(tmp_path: Path, small: Small) -> None:
    reference = Reference(small, 2)
    expect_equal(reference, reference.save(tmp_path))


def _bare(document: dict[str, Any]) -> Any:
    return document["model_state_dict"]


SAVED_AGAIN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "bare": _bare,
    "without metadata": lambda d: d | {"model_state_dict": without_metadata(_bare(d))},
    "bare and without metadata": lambda d: without_metadata(_bare(d)),
    "cloned copies": lambda d: d | {"model_state_dict": cloned(_bare(d))},
    "without second copies": lambda d: {
        name: tensor for name, tensor in _bare(d).items() if not name.startswith("adalora_modules.")
    },
    "data parallel": lambda d: d | {"model_state_dict": prefixed(_bare(d), "module.")},
    "wrapped twice": lambda d: prefixed(_bare(d), "module._orig_mod."),
    "the inner model alone": lambda d: {
        name.removeprefix("sam."): tensor for name, tensor in _bare(d).items() if name.startswith("sam.")
    },
    "one name for the frequencies": lambda d: {
        name: tensor
        for name, tensor in _bare(d).items()
        if name != "sam.prompt_encoder.shared_embedding.positional_embedding"
    },
    "masks as numbers": lambda d: {
        name: tensor.float() if ".mask_" in name else tensor for name, tensor in _bare(d).items()
    },
}


@pytest.mark.parametrize("form", SAVED_AGAIN)
def test_files_that_were_saved_again(tmp_path: Path, form: str) -> None:
    reference = Reference(stage=2)
    path = tmp_path / "again.pth"
    torch.save(SAVED_AGAIN[form](reference.checkpoint()), path)
    assert expect_equal(reference, path).stage == 2  # qat_mode tells it where all else is lost


def test_a_score_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    torch.save(Reference().checkpoint() | {"val_dice": float("nan"), "epoch": torch.tensor(3)}, path)
    provenance = read_adalora_qat(path).provenance
    assert "val_dice" not in provenance
    assert provenance["epoch"] == 3


# ---- scaling, and adapters alone


def test_the_scaling_is_read_from_the_same_adapters_beside_the_file(tmp_path: Path) -> None:
    reference = Reference(dataclasses.replace(Small(), alpha=24.0, target_rank=8), 2)
    reference.save_adapters(tmp_path)
    found = expect_equal(reference, reference.save(tmp_path))
    assert found.scaling.factor == 3
    assert "best_adalora_stage2_int8.pth" in found.scaling.source
    assert read_adalora_qat(reference.save(tmp_path), 4, 8).scaling.factor == 0.5  # what is asked for counts


def test_other_adapters_beside_the_file_are_not_used_and_that_is_said(tmp_path: Path) -> None:
    Reference(dataclasses.replace(Small(), alpha=24.0, seed=3), 2).save_adapters(tmp_path)
    (tmp_path / "best_adalora_broken.pth").write_bytes(b"no weights")
    found = expect_equal(Reference(stage=2), Reference(stage=2).save(tmp_path))
    assert found.scaling.factor == 1
    assert "best_adalora_stage2_int8.pth" in found.notices[0]


@pytest.mark.parametrize("adapted", [None, (1,)])
def test_adapters_alone_beside_their_base(tmp_path: Path, adapted: tuple[int, ...] | None) -> None:
    reference = Reference(dataclasses.replace(Small(), alpha=16.0, target_rank=8, adapted=adapted))
    state = {
        name.replace(".qkv.qkv.", ".qkv."): tensor for name, tensor in reference.sam.state_dict().items()
    }
    base = SamModel(reference.sam.config)
    base.load_state_dict({name: state[name] for name in base.state_dict()})
    base.save_pretrained(tmp_path / "base")
    path = reference.save_adapters(tmp_path)
    found = expect_equal(reference, path, base=tmp_path / "base")
    assert not found.whole
    assert found.scaling.factor == 2
    assert "not the trained ones" in found.notices[0]
    assert found.provenance["timestamp"] == "2025-01-01 00:00:00"
    with pytest.raises(RecipeError, match="--base"):
        read_adalora_qat(path)
    with pytest.raises(RecipeError, match="leave --base out"):
        read_adalora_qat(reference.save(tmp_path), base=tmp_path / "base")


@pytest.mark.parametrize(
    ("alpha", "target_rank", "says"),
    [
        (32, None, "both"),
        (None, 32, "both"),
        (0, 32, "positive"),
        (float("nan"), 32, "positive"),
        (1, 0, "positive"),
    ],
)
def test_a_scaling_that_is_none_is_refused(tmp_path: Path, alpha: Any, target_rank: Any, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        read_adalora_qat(Reference().save(tmp_path), alpha, target_rank)


# ---- refused


def _change(name: str, value: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], Any]:
    def changed(document: dict[str, Any]) -> Any:
        state = cloned(_bare(document))
        state[name] = value(state[name])
        return document | {"model_state_dict": state}

    return changed


def _drop(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda d: {other: tensor for other, tensor in _bare(d).items() if other != name}


def _add(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda d: {**_bare(d), name: value}


def _both(name: str, value: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], Any]:
    """Change a tensor of the first block under both its names."""
    return lambda d: _change(f"{BLOCK}.{name}", value)(
        d | {"model_state_dict": _change(f"adalora_modules.0.{name}", value)(d)["model_state_dict"]}
    )


NAN = float("nan")
REFUSED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "copies differ": (
        _change("adalora_modules.1.Lambda_k", lambda t: t + 1e-6),
        "adalora_modules.1.Lambda_k.*contra|contra.*adalora_modules.1.Lambda_k",
    ),
    "copies differ in a mask": (_change("adalora_modules.0.mask_q", lambda t: ~t), "contradicts itself"),
    "copies differ in a weight": (
        _change("adalora_modules.0.qkv.weight", lambda t: t * 2),
        "contradicts itself",
    ),
    "a copy is missing": (_drop("adalora_modules.0.P_q"), "lacks adalora_modules.0.P_q"),
    "a copy of nothing": (_add("adalora_modules.7.P_q", torch.zeros(1)), "adalora_modules.7.P_q"),
    "the two frequencies differ": (
        _change("sam.prompt_encoder.shared_embedding.positional_embedding", lambda t: t + 1),
        "two different tensors",
    ),
    "NaN in an adapter": (_both("P_v", lambda t: t * NAN), "NaN"),
    "NaN in a pruned Lambda": (_both("Lambda_q", lambda t: torch.full_like(t, NAN)), "NaN"),
    "NaN in the decoder": (_change("sam.mask_decoder.iou_token.weight", lambda t: t / 0), "NaN"),
    "an adapter is missing": (_drop(f"{BLOCK}.Q_k"), f"lacks {BLOCK}.Q_k"),
    "a mask is missing": (_drop(f"{BLOCK}.mask_v"), f"lacks {BLOCK}.mask_v"),
    "a bias is missing": (_drop(f"{BLOCK}.qkv.bias"), f"lacks {BLOCK}.qkv.bias"),
    "a norm is missing": (_drop("sam.vision_encoder.neck.layer_norm1.weight"), "lacks 1 tensor"),
    "no position table": (_drop("sam.vision_encoder.pos_embed"), "lacks sam.vision_encoder.pos_embed"),
    "a foreign tensor": (_add("optimizer.step", torch.zeros(1)), "optimizer.step"),
    "a foreign part of the SAM": (_add("sam.mask_decoder.extra.weight", torch.zeros(1)), "1 tensor too many"),
    "a foreign part of an adapter": (_add(f"{BLOCK}.alpha", torch.ones(())), f"{BLOCK}.alpha"),
    "two models": (_add("module.sam.vision_encoder.pos_embed", torch.zeros(1)), "begin with"),
    "two projections": (_add(f"{BLOCK}.weight", torch.zeros(96, 32)), "twice"),
    "a rank that does not fit": (_both("Lambda_q", lambda t: t[:-1]), "shapes"),
    "a turned matrix": (_both("P_q", lambda t: t.t()), "shapes"),
    "a projection cut off": (_both("qkv.weight", lambda t: t[:-1]), "not a fused qkv"),
    "integers": (_both("P_q", lambda t: (t * 100).to(torch.int8)), "plain floating-point"),
    "a mask of other numbers": (_both("mask_q", lambda t: t.float() * 0.5), "not true or false"),
    "a layer of another shape": (_change("sam.mask_decoder.iou_token.weight", lambda t: t[:, :-1]), "shape"),
    "adapters without a SAM": (
        lambda d: {name: t for name, t in _bare(d).items() if name.startswith("adalora_modules.")},
        "without the SAM",
    ),
    "no tensors": (_add("sam.names", "text"), "not a tensor"),
    "another model": (
        lambda d: {"model_state_dict": {"conv1.weight": torch.zeros(1)}},
        "lacks the adapters",
    ),
    "a list": (lambda d: [1, 2], "no dictionary"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_wrong_is_said(tmp_path: Path, fault: str) -> None:
    spoil, says = REFUSED[fault]
    path = tmp_path / "spoilt.pth"
    torch.save(spoil(Reference(stage=2).checkpoint()), path)
    with pytest.raises(CheckpointError, match=says) as refused:
        read_adalora_qat(path)
    assert str(refused.value).startswith("spoilt.pth")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: d["adalora_state_dict"].pop("layer_1_mask_v"), "lacks layer_1_mask_v"),
        (lambda d: d["adalora_state_dict"].update(layer_0_P_x=torch.zeros(1)), "layer_0_P_x"),
        (lambda d: d["adalora_state_dict"].update(layer_0_P_q=torch.full((32, 6), NAN)), "NaN"),
        (lambda d: d.update(lora_layers=[0]), "do not fit"),
        (lambda d: d.update(adalora_state_dict={}), "no adapters"),
    ],
)
def test_spoilt_adapters_are_refused(tmp_path: Path, spoil: Callable[[Any], Any], says: str) -> None:
    document = Reference().adapters()
    spoil(document)
    torch.save(document, tmp_path / "best_adalora_x.pth")
    with pytest.raises(CheckpointError, match=says):
        read_adalora_qat(tmp_path / "best_adalora_x.pth", base="never read")


def test_a_file_cut_short_and_one_with_code(tmp_path: Path) -> None:
    path = Reference().save(tmp_path)
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(CheckpointError, match="download the"):
        read_adalora_qat(path)
    torch.save(Reference(), path)  # the module itself: unpickling it would run code
    with pytest.raises(CheckpointError, match="could run code"):
        read_adalora_qat(path)


def test_load_base_names_the_way_to_a_base(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape("--to huggingface")):
        load_base(Reference().save(tmp_path))
