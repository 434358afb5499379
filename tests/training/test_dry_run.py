"""`train --dry-run` says what the training then does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adaloraqat.datasets.manifest import read_manifest, select
from adaloraqat.errors import RecipeError
from adaloraqat.models.architecture import TINY
from adaloraqat.training.dry_run import plan
from adaloraqat.training.recipe import parse_recipe
from adaloraqat.training.train import train


def test_it_says_the_films_steps_ranks_and_parameters_that_training_then_has(
    both_stages: Callable[[], dict[str, Any]], manifest: Path, tmp_path: Path
) -> None:
    recipe = parse_recipe(both_stages())
    planned = plan(recipe, manifest)
    assert not list(tmp_path.iterdir())
    result = train(recipe, manifest, tmp_path / "run")
    films = select(read_manifest(manifest), "train"), select(read_manifest(manifest), "val")
    assert (planned.training, planned.validation, planned.missing) == (*map(len, films), 0)
    assert len(planned.stages) == 2
    for stage, done in zip(planned.stages, result["stages"], strict=True):
        assert stage.steps_per_epoch * stage.stage.schedule.epochs == done["steps"]
        assert stage.budgets[-1] == sum(done["ranks"].values())
    first, second = planned.stages
    assert list(first.budgets[1:]) == result["stages"][0]["budgets"]
    assert second.budgets == first.budgets[-1:]
    # the adapters that are pruned away still learn before; afterwards every rank is the target on average
    assert second.trainable == pytest.approx(result["stages"][1]["trainable_parameters"], rel=0.02)
    lines = "\n".join(planned.lines())
    assert f"{len(films[0])} training and {len(films[1])} validation films\n" in lines
    assert "stage1 (adalora): 4 epochs of 2 steps, 8 in all, of 2 films of 32 px" in lines
    assert f"3 adapted matrices, {first.budgets[0]}, then {first.budgets[1]}" in lines


def test_a_stage_that_trains_nothing_has_no_steps(manifest: Path) -> None:
    full = {"kind": "full", "schedule": {"epochs": 1, "batch_size": 2, "steps_per_epoch": 2}}
    mean = {"name": "mean", "kind": "average", "of": {"a": 1, "b": 1}, "schedule": {"epochs": 10**9}}
    stages = [full | {"name": "a"}, full | {"name": "b"}, mean]
    planned = plan(parse_recipe({"name": "r", "base": {"architecture": "tiny"}, "stages": stages}), manifest)
    last = planned.stages[-1]
    assert (last.steps_per_epoch, last.trainable) == (0, 0)
    assert last.seconds < 1000  # not of a billion epochs
    assert any(line.startswith("mean (average): trains nothing, at ") for line in planned.lines())


def test_memory_is_what_autograd_keeps_and_grows_with_the_batch(manifest: Path) -> None:
    def stage(batch: int, **more: Any) -> dict[str, Any]:
        schedule = {"epochs": 1, "batch_size": batch, "steps_per_epoch": 1, **more}
        return {"name": "a", "kind": "full", "schedule": schedule}

    base = {"architecture": TINY.to_dict()}
    one, four, sgd = (
        plan(parse_recipe({"name": "r", "base": base, "stages": [wanted]}), manifest).stages[0]
        for wanted in (stage(1), stage(4), stage(4, optimizer="sgd"))
    )
    assert four.memory - one.memory == pytest.approx(
        3 * (one.memory - 4 * (one.parameters + 3 * one.trainable)), rel=0.1
    )
    assert four.memory - sgd.memory == 4 * four.trainable
    assert four.flops == 4 * one.flops
    # the encoder's two MLPs alone: 64 tokens, 32 -> 128 -> 32, forward and twice that backward
    assert one.flops > 3 * 2 * 2 * 2 * 64 * 32 * 128


def test_missing_films_are_counted_and_an_impossible_prune_is_refused(
    both_stages: Callable[[], dict[str, Any]], manifest: Path, tmp_path: Path
) -> None:
    text = manifest.read_text().replace("train", "train", 1)
    gone = tmp_path / "manifest.csv"
    first = select(read_manifest(manifest), "train")[0]
    gone.write_text(text.replace(first.path_image.name, "gone.png"))
    for path in manifest.parent.iterdir():
        if path.name != manifest.name:
            (tmp_path / path.name).symlink_to(path)
    document = both_stages()
    document["stages"] = document["stages"][:1]
    assert plan(parse_recipe(document), gone).missing == 1
    document["stages"][0] |= {
        "prune_unit": "step",
        "prune_at": [3],
        "schedule": {"epochs": 1, "batch_size": 12},
    }
    with pytest.raises(RecipeError, match="The last prune is at step 3"):
        plan(parse_recipe(document), manifest)


def test_a_teacher_counts_too(manifest: Path) -> None:
    stage = {"name": "a", "kind": "full", "schedule": {"epochs": 1, "batch_size": 1, "steps_per_epoch": 1}}
    taught = {**stage, "distillation": {"teacher": "base"}}
    alone, both = (
        plan(parse_recipe({"name": "r", "base": {"architecture": "tiny"}, "stages": [wanted]}), manifest)
        for wanted in (stage, taught)
    )
    assert (
        both.stages[0].memory - alone.stages[0].memory > 4 * 1e6
    )  # the base that ships has millions of numbers
    assert both.stages[0].seconds > alone.stages[0].seconds


def test_a_frozen_encoder_counts_once_a_picture_where_pictures_come_again(manifest: Path) -> None:
    def stage(epochs: int, **more: Any) -> dict[str, Any]:
        schedule = {"epochs": epochs, "batch_size": 4, "steps_per_epoch": 10}
        return {"name": "a", "kind": "full", "train": "decoder", "schedule": schedule, **more}

    varied, short, long = (
        plan(parse_recipe({"name": "r", "base": {"architecture": "small"}, "stages": [wanted]}), manifest)
        for wanted in (stage(40), stage(20, augmentation=0.0), stage(40, augmentation=0.0))
    )
    # of a step of the decoder alone the encoder's forward pass is most of the work
    assert long.stages[0].flops < varied.stages[0].flops / 2
    assert long.stages[0].seconds < varied.stages[0].seconds / 1.5
    # seconds are measured, and another program that starts meanwhile makes one of them longer
    assert short.stages[0].seconds / 1.5 < long.stages[0].seconds < 5 * short.stages[0].seconds
    assert long.stages[0].memory == pytest.approx(varied.stages[0].memory, rel=0.1)


@pytest.mark.parametrize("native", [False, True, None])
def test_bfloat16_is_left_where_the_cpu_would_imitate_it(
    native: bool | None, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr("adaloraqat.training.processes.has_bfloat16", lambda: native)
    schedule = {"epochs": 1, "batch_size": 2, "steps_per_epoch": 1, "precision": "bfloat16"}
    stage = {"name": "a", "kind": "full", "schedule": schedule}
    recipe = parse_recipe({"name": "r", "base": {"architecture": TINY.to_dict()}, "stages": [stage]})
    imitated = native is False
    notes = " ".join(plan(recipe, manifest).stages[0].notes)
    assert ("computed in float32" in notes) == imitated
    [result] = train(recipe, manifest, tmp_path / "run")["stages"]
    assert result["precision"] == ("float32" if imitated else "bfloat16")
    assert ("This CPU does not compute in bfloat16" in caplog.text) == imitated


def test_published_recipes_start_from_names(tmp_path: Path) -> None:
    from adaloraqat.models.published import is_name
    from adaloraqat.training.recipe import SHIPPED_RECIPES, load_recipe

    for name in ("paper.yaml", "qmedsam/published.yaml"):
        recipe = load_recipe(SHIPPED_RECIPES / name)
        teachers = [stage.distillation.teacher for stage in recipe.stages if stage.distillation]
        assert all(map(is_name, (recipe.base.weights, *teachers)))
