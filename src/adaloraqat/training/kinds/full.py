"""Stage kind `full`: train the weights themselves, without adapters."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from adaloraqat.errors import RecipeError
from adaloraqat.models.families import SegmentationModel, resize
from adaloraqat.models.sam import architecture_of
from adaloraqat.training.kinds.base import Stage, register
from adaloraqat.training.structure import Structure


@register
class FullStage(Stage):
    """Train the encoder, the decoder, or both, without adapters (training a base; baselines).

    `image_size` changes the resolution from this stage on; position tables are interpolated.
    """

    needs_plain = "a full stage cannot follow an adalora stage; put it before, or in its own recipe"

    kind: Literal["full"] = "full"
    train: Literal["all", "decoder", "encoder"] = "all"
    image_size: int | None = Field(default=None, ge=32, le=2048)

    def check_prompt_free(self, family: str) -> None:
        """Refuse what such a network lacks: parts that train apart, a quality, an embedding."""
        if self.train != "all":
            raise RecipeError(
                f"Stage {self.name} trains the {self.train} alone, which a {family} lacks: write train: all."
            )
        if self.losses.quality:
            raise RecipeError(
                f"A {family} predicts no quality: leave losses.quality out of stage {self.name}, "
                "or set it to 0."
            )
        if self.distillation is not None and self.distillation.embedding:
            raise RecipeError(
                f"A {family} has no embedding that a teacher's could be compared with: give the distillation "
                f"of stage {self.name} embedding: 0 and masks: 1."
            )
        if family == "deeplab_v3_plus" and self.schedule.batch_size < 2:
            raise RecipeError(
                f"A {family} normalises over the batch: give stage {self.name} a batch_size of 2 or more."
            )

    def size_within(self, image_size: int) -> int:
        """Return the stage's own size, where it has one."""
        return self.image_size or image_size

    def enter(
        self, model: SegmentationModel, structure: Structure, seed: int
    ) -> tuple[SegmentationModel, Structure]:
        """Resize the model where the stage has a size of its own."""
        if self.image_size is not None and self.image_size != structure.architecture["image_size"]:
            model = resize(model, self.image_size)
            structure = replace(structure, architecture=architecture_of(model))
        return model, structure

    def learns(self, part: str) -> bool:
        """Whether `train` names the part."""
        return self.train in ("all", part)
