"""The model that a training starts from, or learns from: by name, folder, file or measures."""

from pathlib import Path

import torch

from adaloraqat.errors import RecipeError
from adaloraqat.models.checkpoints import load_base
from adaloraqat.models.families import SegmentationModel, build
from adaloraqat.models.published import is_name
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import architecture_of
from adaloraqat.training.recipe import BaseModelChoice
from adaloraqat.training.run import is_run, load_float_run
from adaloraqat.training.structure import Structure


def load_start(base: BaseModelChoice, seed: int) -> tuple[SegmentationModel, Structure]:
    """Return the model that training starts from; random weights are seeded, the global seed stays.

    `weights` may also name a run: its last float stage is the start, adapters and all, so that several second
    stages can follow one first stage.

    Raises:
        CheckpointError: the weights cannot be read.
        RecipeError: the measures do not fit, or a run works at another image size.
    """
    if base.weights is not None and names_run(base.weights):
        run = load_float_run(Path(base.weights))
        size = run.structure.architecture["image_size"]
        if base.image_size not in (None, size):
            raise RecipeError(
                f"{Path(base.weights).name} works at {size} px: leave base.image_size out, or give a full "
                "stage an image_size."
            )
        return run.model, run.structure
    model = load_base(base.weights, base.image_size) if base.weights is not None else _random(base, seed)
    return model, Structure(architecture_of(model))


def names_run(weights: str) -> bool:
    """Whether what a recipe names is a run's folder; a name of published weights never is."""
    return not is_name(weights) and is_run(Path(weights))


def _random(base: BaseModelChoice, seed: int) -> SegmentationModel:
    given = base.architecture
    measures = architecture(given).to_dict() if isinstance(given, str) else dict(given or {})
    if base.image_size is not None:
        measures["image_size"] = base.image_size
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(measures)
