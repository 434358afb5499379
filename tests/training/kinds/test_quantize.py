"""QMedSAM's three runs: encoder, then decoder, then end to end; each keeps what the one before quantised."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adaloraqat.errors import RecipeError
from adaloraqat.quantize.policy import policy_named
from adaloraqat.quantize.preparation import fake_quantized_layers
from adaloraqat.training import parse_recipe
from adaloraqat.training.kinds.quantize import quantized_parts, restricted
from adaloraqat.training.run import load_run
from adaloraqat.training.run_folder import load_tensors
from adaloraqat.training.train import train

Make = Callable[[], dict[str, Any]]

POLICY = {"sam": "int8", "lite_medsam": "qmedsam"}
RUNS = {"run1": ("encoder", "encoder"), "run2": ("decoder", "decoder"), "run3": ("all", "all")}


def three_runs(both_stages: Make, family: str = "sam") -> dict[str, Any]:
    document = both_stages()
    if family == "lite_medsam":
        document["base"] = {"architecture": "lite_medsam_tiny"}
    schedule = {"epochs": 1, "batch_size": 2, "steps_per_epoch": 2, "optimizer": "sgd", "momentum": 0.9}
    rates = {"encoder": 1e-2, "decoder": 1e-2}
    stage = {"kind": "quantize", "schedule": schedule, "learning_rates": rates, "calibration_films": 4}
    document["stages"] = [{"name": "float", "kind": "full", "schedule": schedule}] + [
        stage | {"name": name, "parts": parts, "train": learns} for name, (parts, learns) in RUNS.items()
    ]
    for run in document["stages"][1:]:
        run["policy"] = POLICY[family]
    document["monitor"] = "dice_box"
    return document


class Interrupted(Exception):
    pass


def interrupting(stage: str, step: int) -> Callable[[str, int, int], None]:
    def steps(name: str, done: int, _: int) -> None:
        if (name, done) == (stage, step):
            raise Interrupted

    return steps


@pytest.fixture(scope="module", params=POLICY)
def family(request: pytest.FixtureRequest) -> str:
    """A SAM by our policy, and a LiteMedSAM, which has batch norms and attention products, by the paper's."""
    return str(request.param)


@pytest.fixture(scope="module")
def finished(
    family: str, both_stages: Make, manifest: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("three") / "run"
    train(parse_recipe(three_runs(both_stages, family)), manifest, out, report=lambda _: None)
    return out


def last_weights(run: Path, stage: str) -> dict[str, Tensor]:
    return load_tensors(run / "stages" / f"{stage}.safetensors")[0]


def layers(run: Path, stage: str) -> set[str]:
    return {name.partition(".")[0] for name in fake_quantized_layers(load_run(run, stage).model)}


def test_each_run_quantises_its_part_and_keeps_the_one_before(finished: Path, family: str) -> None:
    assert layers(finished, "float") == set()
    assert layers(finished, "run1") == {"vision_encoder"}
    assert layers(finished, "run2") == layers(finished, "run3") == {"vision_encoder", "mask_decoder"}
    names = [load_run(finished, stage).policy.name for stage in RUNS]  # type: ignore[union-attr]
    policy = POLICY[family]
    assert names == [f"{policy}-encoder", policy, policy]
    assert load_run(finished, "run3").policy == policy_named(policy)


def test_ranges_once_calibrated_stay(finished: Path) -> None:
    first, second, third = (last_weights(finished, stage) for stage in RUNS)
    kinds = ("scale", "zero_point", "calibrated", "output_range")
    ranges = [name for name in first if name.endswith(kinds)]
    assert len(ranges) > 8
    assert all(torch.equal(first[name], second[name]) for name in ranges)
    ranges = [name for name in second if name.endswith(kinds)]
    assert len(ranges) > 40
    assert all(torch.equal(second[name], third[name]) for name in ranges)


def test_a_run_trains_its_own_part_alone(finished: Path) -> None:
    stages = json.loads((finished / "result.json").read_text())["stages"]
    whole = stages[0]["trainable_parameters"]
    encoder, decoder, both = (stage["trainable_parameters"] for stage in stages[1:])
    assert both <= whole  # batch norms are folded
    assert 0 < encoder < both
    assert 0 < decoder < both
    assert encoder + decoder <= both  # the prompt encoder's tables learn only where all do
    before, after = last_weights(finished, "run1"), last_weights(finished, "run2")
    learnt = ("weight", "bias", "running_mean", "running_var")
    kept = [name for name in before if name.startswith("vision_encoder") and name.endswith(learnt)]
    assert all(torch.equal(before[name], after[name]) for name in kept)


@pytest.mark.parametrize(
    ("stage", "step"), [("run1", 1), pytest.param("run2", 2, marks=pytest.mark.slow), ("run3", 1)]
)
def test_resumed_equals_uninterrupted(
    stage: str, step: int, family: str, finished: Path, both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    recipe = parse_recipe(three_runs(both_stages, family))
    with pytest.raises(Interrupted):
        train(recipe, manifest, tmp_path / "r", report=lambda _: None, on_step=interrupting(stage, step))
    train(recipe, manifest, tmp_path / "r", resume=True, report=lambda _: None)
    for name in ("stages/run3", "checkpoint", "best"):
        wanted, found = (load_tensors(run / f"{name}.safetensors")[0] for run in (finished, tmp_path / "r"))
        assert wanted.keys() == found.keys()
        assert all(torch.equal(wanted[key], found[key]) for key in wanted)
    momenta = [key for key in wanted if key.startswith("optimizer/")] if name == "checkpoint" else []
    assert all(key.endswith("momentum_buffer") for key in momenta)


def test_restricting_a_policy_is_told_from_its_rules() -> None:
    policy = policy_named("int8")
    encoder = restricted(policy, frozenset({"encoder"}))
    assert quantized_parts(None) == frozenset()
    assert quantized_parts(encoder) == {"encoder"}
    assert quantized_parts(policy) == {"encoder", "decoder"}
    assert restricted(policy, quantized_parts(policy)) == policy
    assert encoder.precision_of("mask_decoder.iou_prediction_head.proj_in") == "float32"
    assert encoder.precision_of("vision_encoder.layers.0.mlp.lin1") == "int8 per channel"


@pytest.mark.parametrize("changes", [{"policy": "paper"}, {"weight_range": "full"}])
def test_runs_that_follow_one_another_share_their_numerics(
    changes: dict[str, str], both_stages: Make
) -> None:
    document = three_runs(both_stages)
    document["stages"][2] |= changes
    with pytest.raises(RecipeError, match="one policy and one weight_range"):
        parse_recipe(document)
