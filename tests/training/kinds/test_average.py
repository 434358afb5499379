"""Kind `average`: the mean of earlier stages' weights, by hand; what cannot be averaged is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.models.checkpoints import save_base
from adaloraqat.models.families import build
from adaloraqat.models.registry import architecture
from adaloraqat.training import parse_recipe
from adaloraqat.training.dry_run import plan
from adaloraqat.training.kinds.average import AverageStage
from adaloraqat.training.run import load_run
from adaloraqat.training.run_folder import RunFolder, load_tensors
from adaloraqat.training.train import train

SCHEDULE = {"epochs": 1, "batch_size": 2, "steps_per_epoch": 2}
RATES = {"encoder": 1e-3, "decoder": 1e-3}
FULL = {"kind": "full", "schedule": SCHEDULE, "learning_rates": RATES, "augmentation": 0.5}


def averaging(*stages: dict[str, Any], of: dict[str, float]) -> dict[str, Any]:
    """Return a recipe of a network with batch norms: `stages`, then their mean."""
    last = {"name": "mean", "kind": "average", "of": of}
    return {"name": "small", "base": {"architecture": "lite_medsam_tiny"}, "stages": [*stages, last]}


@pytest.fixture(scope="module")
def run(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("average") / "run"
    document = averaging(FULL | {"name": "a"}, FULL | {"name": "b"}, of={"a": 1, "b": 3})
    document["stages"].append(
        {"name": "int8", "kind": "quantize", "policy": "w8a8", "train": "nothing", "calibration_films": 2}
    )
    train(parse_recipe(document, "test"), manifest, folder)
    return folder


def test_each_number_is_the_mean_by_the_shares(run: Path) -> None:
    first, second, mean = (load_tensors(RunFolder(run).stage_path(name))[0] for name in ("a", "b", "mean"))
    floats = [name for name, value in first.items() if value.is_floating_point()]
    moved = [name for name in floats if not torch.equal(first[name], second[name])]
    assert any(name.endswith("running_var") for name in moved)
    assert any(name.startswith("mask_decoder") for name in moved)
    for name in floats:
        torch.testing.assert_close(mean[name], (first[name] + 3 * second[name]) / 4)


def test_it_trains_nothing_and_is_what_the_next_stage_gets(run: Path) -> None:
    result = RunFolder(run).result()
    assert result is not None
    mean, last = result["stages"][2:]
    assert (mean["steps"], mean["trainable_parameters"]) == (0, 0)
    assert mean["before"] == mean["after"]
    assert last["kind"] == "quantize"
    averaged, rounded = load_run(run, "mean").model, load_run(run).model
    name = "mask_decoder.iou_prediction_head.proj_in.bias"  # which no policy rounds
    assert torch.equal(averaged.state_dict()[name], rounded.state_dict()[name])


def test_weights_that_are_damaged_are_named(run: Path, tmp_path: Path) -> None:
    model = load_run(run, "mean").model
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/a.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"a\.safetensors is missing or damaged"):
        AverageStage(name="mean", of={"a": 1, "b": 1}).begin(model, tmp_path)


@pytest.mark.parametrize(
    ("stages", "of", "message"),
    [
        (["a", "b"], {"a": 1, "c": 1}, "averages c, which does not come before it: choose from a, b"),
        (["a", "b"], {"a": 1}, "a mean needs at least 2 members in `of` and `weights` together"),
        (["a", "b"], {"a": 1, "b": 0}, "a share above 0"),
        (["a", "adalora"], {"a": 1, "adalora": 1}, "adalora, which is of kind adalora"),
        (["a", "lora", "b"], {"a": 1, "b": 1}, "lora, which is of kind lora"),
        (["a", "larger"], {"a": 1, "larger": 1}, "larger, which changes the image size"),
    ],
)
def test_what_has_no_mean_is_refused(
    both_stages: Callable[[], dict[str, Any]], stages: list[str], of: dict[str, float], message: str
) -> None:
    known = {
        "a": FULL | {"name": "a"},
        "b": FULL | {"name": "b"},
        "larger": FULL | {"name": "larger", "image_size": 64},
        "lora": {"name": "lora", "kind": "lora", "rank": 2, "schedule": SCHEDULE},
        "adalora": both_stages()["stages"][0] | {"name": "adalora"},
    }
    with pytest.raises(RecipeError, match=message):
        parse_recipe(averaging(*(known[name] for name in stages), of=of), "test")


def test_a_base_with_adapters_is_refused() -> None:
    stage = AverageStage(name="mean", of={"a": 1, "b": 1})
    stage.check_entry(adapted=False, image_size=64)
    with pytest.raises(RecipeError, match="Stage mean would average a base that carries adapters"):
        stage.check_entry(adapted=True, image_size=64)


def test_a_stage_that_was_resized_first_is_accepted() -> None:
    resized = FULL | {"name": "a", "image_size": 64}
    parse_recipe(averaging(resized, FULL | {"name": "b"}, of={"a": 1, "b": 1}), "test")


def test_weights_of_other_trainings_take_part(manifest: Path, tmp_path: Path) -> None:
    """Two published-style folders and a stage: each number is the mean by hand, at the model's own size."""
    config = architecture("lite_medsam_tiny").to_dict()
    states = []
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        model = build(config).eval()
        save_base(model, tmp_path / name)
        states.append(model.state_dict())
    shares = {str(tmp_path / "first"): 1, str(tmp_path / "second"): 3}
    mean = {"name": "mean", "kind": "average", "weights": shares}
    size = config["image_size"] * 2
    base = {"weights": str(tmp_path / "first"), "image_size": size}
    document = {"name": "small", "base": base, "stages": [mean, FULL | {"name": "a"}]}
    train(parse_recipe(document, "test"), manifest, tmp_path / "run")
    run = load_run(tmp_path / "run", "mean")
    assert run.preprocessing.image_size == size
    for name, value in run.model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (states[0][name] + 3 * states[1][name]) / 4)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("absent", CheckpointError, "no base weights at absent"),
        ("other", RecipeError, "Stage mean cannot average other: it is of another architecture"),
    ],
)
def test_weights_that_do_not_fit_or_are_not_there_are_refused_before_anything_is_written(
    name: str, error: type[Exception], message: str, manifest: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    for folder, kind in (("own", "lite_medsam_tiny"), ("other", "tiny")):
        save_base(build(architecture(kind).to_dict()), tmp_path / folder)
    document = averaging(of={})
    document["stages"][0]["weights"] = {str(tmp_path / "own"): 1, str(tmp_path / name): 1}
    recipe = parse_recipe(document, "test")
    with pytest.raises(error, match=message):
        plan(recipe, manifest)
    with pytest.raises(error, match=message):
        train(recipe, manifest, tmp_path / "run")
    assert not (tmp_path / "run" / "stages").exists()
