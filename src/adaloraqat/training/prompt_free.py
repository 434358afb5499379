"""What a recipe may ask of a network that takes no prompt: refused before any film is read."""

from adaloraqat.errors import RecipeError
from adaloraqat.models.families import SegmentationModel, accepts_boxes
from adaloraqat.training.recipe import FullStage, Recipe, Stage


def check_recipe_fits(recipe: Recipe, model: SegmentationModel) -> None:
    """Refuse a recipe that trains a network without prompts as if it had some.

    Such a network is trained and scored without a box only, predicts no quality, and has neither a mask
    decoder nor a qkv that could be trained apart.

    Raises:
        RecipeError: says which key does not fit and what to write instead.
    """
    if accepts_boxes(model):
        return
    family = model.architecture["family"]
    if recipe.prompts.whole_film != 1:
        raise RecipeError(
            f"A {family} takes no box, so it must be trained without any: "
            "write prompts: {whole_film: 1.0, one_lung: 0.0}."
        )
    if recipe.monitor != "dice_no_box":
        raise RecipeError(f"A {family} takes no box: write monitor: dice_no_box.")
    for stage in recipe.stages:
        _check_stage(stage, family)


def _check_stage(stage: Stage, family: str) -> None:
    if not isinstance(stage, FullStage):
        raise RecipeError(
            f"Stage {stage.name} is of kind {stage.kind}, and a {family} trains only with kind full."
        )
    if stage.train != "all":
        raise RecipeError(
            f"Stage {stage.name} trains the {stage.train} alone, which a {family} lacks: write train: all."
        )
    if stage.losses.quality:
        raise RecipeError(
            f"A {family} predicts no quality: leave losses.quality out of stage {stage.name}, or set it to 0."
        )
    if stage.distillation is not None and stage.distillation.embedding:
        raise RecipeError(
            f"A {family} has no embedding that a teacher's could be compared with: give the distillation "
            f"of stage {stage.name} embedding: 0 and masks: 1."
        )
    if family == "deeplab_v3_plus" and stage.schedule.batch_size < 2:
        raise RecipeError(
            f"A {family} normalises over the batch: give stage {stage.name} a batch_size of 2 or more."
        )
