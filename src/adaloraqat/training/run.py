"""A finished (or half-finished) run as something to export, evaluate or describe."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaloraqat.errors import CheckpointError
from adaloraqat.models.families import SegmentationModel
from adaloraqat.quantize.policy import PrecisionPolicy
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.checkpoint import load_document, load_tensors
from adaloraqat.training.recipe import Recipe, load_recipe
from adaloraqat.training.run_folder import RECIPE, RESULT, RunFolder
from adaloraqat.training.structure import Structure, build_model


@dataclass(frozen=True)
class LoadedRun:
    """One stage's model of a run, with all that describes it.

    `result` is that stage's entry of result.json; `fingerprint` identifies the films it was trained on.
    """

    model: SegmentationModel
    structure: Structure
    preprocessing: Preprocessing
    recipe: Recipe
    stage: str
    result: dict[str, Any]
    fingerprint: str

    @property
    def policy(self) -> PrecisionPolicy | None:
        """The precision policy that the stage trained with; None in floating point."""
        return PrecisionPolicy.from_dict(self.structure.policy) if self.structure.policy else None


def is_run(folder: Path) -> bool:
    """Whether `folder` holds a run (its recipe at least)."""
    return (folder / RECIPE).is_file()


def finished_stages(folder: Path) -> list[str]:
    """Return the names of the stages that are finished, in order.

    Raises:
        CheckpointError: `folder` holds no run.
    """
    if not is_run(folder):
        raise CheckpointError(
            f"{folder.name} holds no run; give a folder that `adaloraqat train --out` made."
        )
    recipe = load_recipe(folder / RECIPE)
    run = RunFolder(folder)
    return [stage.name for stage in recipe.stages if run.stage_path(stage.name).exists()]


def trainable_parameters(folder: Path, last: str | None = None) -> dict[str, int]:
    """Return how many parameters each finished stage of a run trained, by the stage's name, up to `last`."""
    run, names = RunFolder(folder), finished_stages(folder)
    if last is not None:
        names = names[: names.index(last) + 1]
    return {
        name: int(load_document(run.stage_path(name))["result"]["trainable_parameters"]) for name in names
    }


def load_float_run(folder: Path) -> LoadedRun:
    """Load the last finished stage that is not quantised, adapters and all.

    Raises:
        CheckpointError: there is none, or its weights are damaged.
    """
    for stage in reversed(finished_stages(folder)):
        run = load_run(folder, stage)
        if run.structure.policy is None:
            return run
    raise CheckpointError(f"{folder.name} has no finished stage in floating point to start from.")


def manifest_of(folder: Path) -> Path | None:
    """Return the manifest that a run was started with, or None where it has moved."""
    return RunFolder(folder).manifest()


def load_run(folder: Path, stage: str | None = None) -> LoadedRun:
    """Load the model that a stage ended with; the last finished stage without `stage`.

    Raises:
        CheckpointError: no run, no finished stage, no stage of that name, or damaged weights.
    """
    names = finished_stages(folder)
    if not names:
        raise CheckpointError(f"{folder.name} has no finished stage yet; continue it with --resume.")
    chosen = stage or names[-1]
    if chosen not in names:
        raise CheckpointError(f"{folder.name} has no finished stage {chosen}; it has {', '.join(names)}.")
    run = RunFolder(folder)
    tensors, document = load_tensors(run.stage_path(chosen))
    try:
        structure = Structure.from_dict(document["structure"])
        preprocessing = Preprocessing.from_dict(document["preprocessing"])
        model = build_model(structure)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"The weights of stage {chosen} in {folder.name} are damaged; train it again."
        ) from error
    model.eval()
    return LoadedRun(
        model,
        structure,
        preprocessing,
        load_recipe(folder / RECIPE),
        chosen,
        document["result"],
        run.identity(),
    )


__all__ = [
    "RESULT",
    "LoadedRun",
    "finished_stages",
    "is_run",
    "load_float_run",
    "load_run",
    "manifest_of",
    "trainable_parameters",
]
