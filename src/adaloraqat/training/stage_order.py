"""What a stage needs of the model and the films: refused before the first stage begins, not hours later."""

import math

from adaloraqat.errors import RecipeError
from adaloraqat.training.films import FilmSet
from adaloraqat.training.recipe import (
    AdaLoRAStage,
    FullStage,
    LoRAStage,
    QuantizeStage,
    Recipe,
    Schedule,
    Stage,
)
from adaloraqat.training.sampling import sampler_of
from adaloraqat.training.structure import Structure


def check_stages(recipe: Recipe, number: int, structure: Structure, films: FilmSet, *, entered: bool) -> None:
    """Go through the stages from `number` on, and refuse the first that could not begin or could not prune.

    Args:
        recipe: all stages.
        number: the stage that comes next.
        structure: of the model before that stage, or inside it if it is already `entered`.
        films: the training films that can be used.
        entered: whether the stage `number` has begun.

    Raises:
        RecipeError: says which stage and the remedy.
    """
    adapted, size = structure.ranks is not None, structure.architecture["image_size"]
    for place, stage in enumerate(recipe.stages[number:], start=number):
        if place > number or not entered:
            check_entry(stage, adapted, resized=resizes(stage, size))
        check_prunes(stage, steps_of(stage.schedule, sampler_of(recipe, place, films).pass_length)[1])
        adapted = adapted or isinstance(stage, AdaLoRAStage)
        size = stage.image_size or size if isinstance(stage, FullStage) else size


def resizes(stage: Stage, image_size: int) -> bool:
    """Whether `stage` works at another size than a model of `image_size`."""
    return isinstance(stage, FullStage) and stage.image_size not in (None, image_size)


def check_entry(stage: Stage, adapted: bool, resized: bool) -> None:
    """Refuse a stage that a model with or without adapters cannot enter.

    Raises:
        RecipeError: says which stage and the remedy.
    """
    if adapted and (resized or isinstance(stage, AdaLoRAStage | LoRAStage)):
        raise RecipeError(
            f"Stage {stage.name} would adapt or resize a base that carries adapters already: merge them with "
            "`adaloraqat export RUN --to huggingface --out FOLDER`, and start from that folder."
        )
    if isinstance(stage, QuantizeStage) and stage.train == "singular_values" and not adapted:
        raise RecipeError(
            f"Stage {stage.name} trains singular values, but its base has no adapters: put adalora "
            "before it, or start from a run that has one."
        )


def steps_of(schedule: Schedule, films: int) -> tuple[int, int]:
    """Return the steps of an epoch and of the whole stage, where a pass has `films` films."""
    an_epoch = schedule.steps_per_epoch or math.ceil(films / schedule.batch_size)
    return an_epoch, an_epoch * schedule.epochs


def check_prunes(stage: Stage, steps: int) -> None:
    """Refuse a prune that would come after the last of `steps`; only with the films is their number known.

    Raises:
        RecipeError: says which stage and the remedy.
    """
    if not isinstance(stage, AdaLoRAStage) or stage.prune_unit != "step" or not stage.prune_at:
        return
    if stage.prune_at[-1] >= steps:
        raise RecipeError(
            f"The last prune is at step {stage.prune_at[-1]} but stage {stage.name} has only "
            f"{steps} steps on these films; prune earlier or train longer."
        )
