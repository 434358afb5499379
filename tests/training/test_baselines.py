"""Networks without prompts, and plain LoRA, through the one training loop."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from adaloraqat.errors import RecipeError
from adaloraqat.lowrank.lora import lora_layers, merge_lora
from adaloraqat.models.baseline_architectures import (
    DeepLabArchitecture,
    SegFormerArchitecture,
    UNetArchitecture,
)
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training import parse_recipe
from adaloraqat.training.run import load_run, load_start
from adaloraqat.training.run_folder import RunFolder, load_tensors, save_tensors
from adaloraqat.training.train import enter_stage, train

NETWORKS = {
    "unet": UNetArchitecture(image_size=32, features=(4, 4, 4, 4, 4, 4)),
    "segformer": SegFormerArchitecture(
        image_size=64, hidden_sizes=(8, 8, 16, 16), depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), decoder_size=16
    ),
    "deeplab": DeepLabArchitecture(image_size=64, depth_multiplier=0.25),
}


def prompt_free(name: str = "unet", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "base": {"architecture": NETWORKS[name].to_dict()},
        "prompts": {"whole_film": 1.0, "one_lung": 0.0, "noise": 0.0},
        "stages": [
            {
                "name": "train",
                "kind": "full",
                "schedule": {"epochs": 2, "steps_per_epoch": 6, "batch_size": 4, "cosine": True},
                "learning_rates": {"encoder": 1e-2},
                "augmentation": 0.3,
            }
        ],
        **changes,
    }


def silent(_: str) -> None:
    pass


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "timing"} for line in lines]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "deeplab" else ()) for name in NETWORKS]
)
def test_every_network_learns_and_is_scored_without_a_box_only(
    name: str, manifest: Path, tmp_path: Path
) -> None:
    result = train(parse_recipe(prompt_free(name)), manifest, tmp_path / "run", report=silent)
    lines = metrics(tmp_path / "run")
    assert lines[-1]["loss"]["total"] < lines[1]["loss"]["total"]
    assert set(result["stages"][0]["after"]) == {"dice_no_box", "worst_no_box"}
    model = load_run(tmp_path / "run").model
    assert result["stages"][0]["trainable_parameters"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prompts": {"whole_film": 0.5}}, "trained without any"),
        ({"monitor": "dice_box"}, "monitor: dice_no_box"),
        ({"stages": [{"name": "a", "kind": "full", "losses": {"quality": 0.1}}]}, "predicts no quality"),
        ({"stages": [{"name": "a", "kind": "full", "train": "decoder"}]}, "write train: all"),
        ({"stages": [{"name": "a", "kind": "lora"}]}, "only with kind full"),
        ({"stages": [{"name": "a", "kind": "quantize"}]}, "only with kind full"),
        ({"stages": [{"name": "a", "kind": "full", "image_size": 40}]}, "multiple of 16"),
    ],
)
def test_a_recipe_that_treats_it_as_a_sam_is_refused_before_anything_is_written(
    change: dict[str, Any], says: str, manifest: Path, tmp_path: Path
) -> None:
    recipe = parse_recipe(prompt_free(**change))
    with pytest.raises(RecipeError, match=says):
        train(recipe, manifest, tmp_path / "run", report=silent)
    assert not (tmp_path / "run").exists()


def test_a_batch_of_one_is_refused_where_the_batch_is_normalised(manifest: Path, tmp_path: Path) -> None:
    document = prompt_free("deeplab")
    document["stages"][0]["schedule"]["batch_size"] = 1
    with pytest.raises(RecipeError, match="batch_size of 2"):
        train(parse_recipe(document), manifest, tmp_path / "run", report=silent)


def test_a_second_stage_may_be_finer_and_a_second_run_go_on_from_the_first(
    manifest: Path, tmp_path: Path
) -> None:
    document = prompt_free()
    document["stages"].append({**document["stages"][0], "name": "fine", "image_size": 64})
    train(parse_recipe(document), manifest, tmp_path / "first", report=silent)
    assert load_run(tmp_path / "first").preprocessing.image_size == 64
    document = prompt_free(base={"weights": str(tmp_path / "first")})
    result = train(parse_recipe(document), manifest, tmp_path / "second", report=silent)
    first = json.loads((tmp_path / "first/result.json").read_text())
    assert result["stages"][0]["before"] == first["stages"][1]["after"]


@pytest.fixture
def lora(both_stages: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The recipe of both stages, with LoRA in place of AdaLoRA."""
    document = both_stages()
    kept = ("name", "schedule", "learning_rates", "losses", "augmentation")
    stage = {key: document["stages"][0][key] for key in kept}
    document["stages"][0] = {**stage, "kind": "lora", "rank": 4, "alpha": 8}
    return document


def test_lora_trains_its_matrices_and_the_decoder_then_stage_2_starts_from_merged_weights(
    lora: dict[str, Any], manifest: Path, tmp_path: Path
) -> None:
    result = train(parse_recipe(lora), manifest, tmp_path / "run", report=silent)
    first = load_run(tmp_path / "run", "stage1").model
    layers = lora_layers(first)
    assert len(layers) == 1
    learned = sum(p.numel() for n, p in first.named_parameters() if ".lora_" in n)
    decoder = sum(p.numel() for p in first.mask_decoder.parameters())
    assert result["stages"][0]["trainable_parameters"] == learned + decoder
    assert all(layer.lora_B["default"].weight.any() for layer in layers.values())
    merge_lora(first)
    second = load_run(tmp_path / "run", "stage2").model
    assert not lora_layers(second)
    assert set(first.state_dict()) <= set(second.state_dict())
    assert (tmp_path / "run/adapter/adapter_config.json").exists()


def test_encoder_only_lora_leaves_the_decoder_as_it_was(
    lora: dict[str, Any], manifest: Path, tmp_path: Path
) -> None:
    base = {"name": "base", "kind": "full", "schedule": {"epochs": 1, "batch_size": 2, "steps_per_epoch": 1}}
    lora["stages"] = [base, {**lora["stages"][0], "train_decoder": False}]
    train(parse_recipe(lora), manifest, tmp_path / "run", report=silent)
    before, after = (load_run(tmp_path / "run", name).model for name in ("base", "stage1"))
    state = after.mask_decoder.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.mask_decoder.state_dict().items())
    assert "modules_to_save" in (tmp_path / "run/adapter/adapter_config.json").read_text()


class _Stopped(Exception):
    pass


@pytest.mark.parametrize("kind", ["lora", "unet", pytest.param("deeplab", marks=pytest.mark.slow)])
def test_stopped_and_resumed_equals_uninterrupted(
    kind: str, lora: dict[str, Any], manifest: Path, tmp_path: Path
) -> None:
    recipe = parse_recipe(lora if kind == "lora" else prompt_free(kind))
    train(recipe, manifest, tmp_path / "whole", report=silent)

    def stop(line: str) -> None:
        if "epoch 2/" in line:  # the checkpoint behind it is that of epoch 1
            raise _Stopped

    with pytest.raises(_Stopped):
        train(recipe, manifest, tmp_path / "run", report=stop)
    train(recipe, manifest, tmp_path / "run", resume=True, report=silent)
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
    for name in ("checkpoint.safetensors", f"stages/{recipe.stages[0].name}.safetensors"):
        tensors, wanted = (load_tensors(tmp_path / folder / name)[0] for folder in ("run", "whole"))
        assert all(torch.equal(tensors[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize(
    ("kind", "base", "says"),
    [
        ("adalora", {}, "carries adapters already"),
        ("lora", {}, "carries adapters already"),
        ("full", {"image_size": 64}, "works at 32 px"),
    ],
)
def test_a_run_with_adapters_is_no_base_for_others(
    kind: str, base: dict[str, Any], says: str, both_stages: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    recipe = parse_recipe(both_stages())
    model, structure = load_start(recipe.base, 0)
    model, structure = enter_stage(recipe.stages[0], model, structure, 0)
    RunFolder(tmp_path / "first").start(recipe, {"fingerprint": "films"}, tmp_path / "manifest.csv")
    stored = {"structure": asdict(structure), "result": {}, "preprocessing": Preprocessing(32).to_dict()}
    save_tensors(RunFolder(tmp_path / "first").stage_path("stage1"), model.state_dict(), stored)
    document = {
        "name": "next",
        "base": {"weights": str(tmp_path / "first"), **base},
        "stages": [{"name": "next", "kind": kind, "schedule": {"epochs": 13}}],
    }
    following = parse_recipe(document)
    with pytest.raises(RecipeError, match=says):
        enter_stage(following.stages[0], *load_start(following.base, 0), 0)
