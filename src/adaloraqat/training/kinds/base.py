"""A stage of a recipe: what every kind shares, and everything that a kind may decide for itself.

A new kind is a subclass of `Stage` in one file, made known to recipes by `@register`. It names its keys as
pydantic fields and overrides the methods in which it differs; the training loop asks nothing else of it. The
methods stand in the order in which a training calls them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adaloraqat.errors import RecipeError
from adaloraqat.progress import Report

if TYPE_CHECKING:  # a recipe knows this interface only, not what the kinds import
    from torch import Tensor
    from torch.optim import Optimizer

    from adaloraqat.models.families import SegmentationModel
    from adaloraqat.radiograph import Preprocessing
    from adaloraqat.training.films import FilmSet
    from adaloraqat.training.structure import Structure


Unit = Literal["epoch", "step"]

PARTS = ("encoder", "decoder", "prompts", "adapters", "singular_values")
"""What of a model may learn."""


class Strict(BaseModel):
    """A part of a recipe: an unknown key and an invalid number are refused, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Losses(Strict):
    """Weights of the loss terms. `quality` trains SAM's IoU head; the paper does not (0)."""

    bce: float = Field(default=1.0, ge=0)
    dice: float = Field(default=1.0, ge=0)
    orthogonality: float = Field(default=0.003, ge=0)
    quality: float = Field(default=0.0, ge=0)


_LARGEST_RATE = 1e30  # far beyond it a step no longer fits into 32 bits


class LearningRates(Strict):
    """Peak rates per group of parameters; a group that a stage does not train is ignored."""

    encoder: float = Field(default=5e-5, ge=0, le=_LARGEST_RATE)
    adapters: float = Field(default=5e-5, ge=0, le=_LARGEST_RATE)
    singular_values: float = Field(default=5e-5, ge=0, le=_LARGEST_RATE)
    decoder: float = Field(default=2e-5, ge=0, le=_LARGEST_RATE)

    def of(self, group: str) -> float:
        """Return the peak rate of a group; prompts learn at the decoder's."""
        return float(getattr(self, "decoder" if group == "prompts" else group))


Precision = Literal["float32", "bfloat16"]
"""In what the networks are computed; weights, losses and the optimiser are float32 in either."""


class Schedule(Strict):
    """Length and shape of a stage. `steps_per_epoch` null means one pass over the training films.

    `batch_size` counts the films of an optimiser step, over all processes. `accumulate` works through each
    process's share in that many parts one after the other: less memory, the same step.

    `momentum` belongs to `sgd`, which QMedSAM trains with; AdamW keeps its own two averages.
    """

    epochs: int = Field(default=20, ge=1)
    steps_per_epoch: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=16, ge=1)
    accumulate: int = Field(default=1, ge=1)
    warmup_steps: int = Field(default=0, ge=0)
    cosine: bool = False
    weight_decay: float = Field(default=0.0, ge=0)
    clip_gradient: float | None = Field(default=None, gt=0)
    patience: int | None = Field(default=None, ge=1)
    precision: Precision = "float32"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)

    def steps(self, films: int) -> tuple[int, int]:
        """Return the steps of an epoch and of the whole stage, where a pass has `films` films."""
        an_epoch = self.steps_per_epoch or math.ceil(films / self.batch_size)
        return an_epoch, an_epoch * self.epochs

    def share_of_peak(self, step: int, total: int) -> float:
        """Return the share of the peak rate at `step` of `total`.

        Linear warm-up, then constant, or half a cosine to zero.
        """
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if not self.cosine:
            return 1.0
        done = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * done))

    def unreached(self, total: int) -> list[str]:
        """Return a sentence where the warm-up is longer than all `total` steps; else nothing."""
        if self.warmup_steps <= total:
            return []
        return [
            f"warmup_steps {self.warmup_steps} is more than all {total} steps, so the learning rates reach "
            f"only {total / self.warmup_steps:.2g} of what the recipe says."
        ]


class Distillation(Strict):
    """Learn from a teacher too (QMedSAM): IoU(teacher's mask, truth) times MSE of the two embeddings.

    `teacher` is any SAM of ours: a run folder (its last stage in floating point), `base` (the base that
    ships), a bundle (`lung-field`), a Hugging Face folder, or a `.pth` in Meta's or MedSAM's naming. It sees
    each film at its own `image_size` (null), without the changes of look. `embedding` weighs that term,
    `masks` a cross-entropy to the teacher's probabilities, which the paper does not have.
    """

    teacher: str
    image_size: int | None = Field(default=None, ge=32, le=2048)
    embedding: float = Field(default=1.0, ge=0)
    masks: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _teaches(self) -> Distillation:
        if self.embedding + self.masks == 0:
            raise ValueError("a teacher needs a weight: give embedding or masks, or leave it out")
        return self


class Hooks:
    """What a kind does between the steps of its stage; by default nothing. Each stage makes its own.

    Attributes:
        budgets: components of all adapters after each prune; empty where nothing is pruned.
        settled: whether the model has its final shape: before, no epoch is kept, and patience does not count.
    """

    budgets: Sequence[int] = ()
    settled: bool = True

    def after_backward(self) -> None:
        """See the true gradients of a step, before they are clipped."""

    def after(self, unit: Unit, point: int) -> None:
        """Act after step or epoch number `point` of the stage, from 1, before the epoch is scored."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold beside the model and the optimiser."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue where `state_dict` was taken."""


class Stage(Strict):
    """What every stage has. `geometry: false` limits augmentation to the look of the films.

    Then what a teacher makes of a film never changes and is computed once.

    `views` fixes how each film is varied: in that many ways, of which the first is the film as it is; each
    epoch shows another. Then, as without augmentation, what the frozen layers of the encoder make of a film
    is computed once, and the epochs after the first `views` need those layers no more.

    Attributes:
        adapts: whether the model leaves the stage with AdaLoRA's adapters.
        adds_adapters: whether the stage puts adapters of any kind into the model.
        needs_plain: why the stage cannot follow one that leaves adapters; None where it can.
        start_counts: whether the model before the first step may already be the best.
    """

    adapts: ClassVar[bool] = False
    adds_adapters: ClassVar[bool] = False
    needs_plain: ClassVar[str | None] = None
    start_counts: ClassVar[bool] = False

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    schedule: Schedule = Schedule()
    learning_rates: LearningRates = LearningRates()
    losses: Losses = Losses()
    augmentation: float = Field(default=1.0, ge=0, le=2)
    geometry: bool = True
    views: int | None = Field(default=None, ge=1, le=1000)
    distillation: Distillation | None = None
    kind: str

    # ---- what is refused, and when -----------------------------------------------------------------------

    @property
    def numerics(self) -> tuple[str, str] | None:
        """Policy and weight range that the model is fake-quantised by; None for floating point."""
        return None

    @property
    def pictures_repeat(self) -> bool:
        """Whether the pictures come again: there is no augmentation, or each film has fixed views."""
        return self.augmentation == 0 or self.views is not None

    def check_order(self, before: Sequence[Stage], pretrained: bool) -> None:
        """Refuse a place in the recipe, when it is read.

        Args:
            before: the stages that come first.
            pretrained: whether the recipe's base is weights, which may carry adapters.

        Raises:
            ValueError: says what to change.
        """
        if any(stage.numerics for stage in before):
            raise ValueError("only quantize stages can follow a quantize stage; put the others before it")
        if self.needs_plain is not None and any(stage.adapts for stage in before):
            raise ValueError(self.needs_plain)

    def check_learning(self, before: Sequence[Stage]) -> None:
        """Refuse to train without effect, when training begins: a run that once did so can still be read.

        Args:
            before: the stages that come first.

        Raises:
            RecipeError: says which stage and the remedy.
        """
        weights = self.losses
        teaches = weights.bce or weights.dice or weights.quality or self.distillation is not None
        if not teaches and any(self.learns(part) for part in PARTS):
            raise RecipeError(
                f"Stage {self.name} has nothing to learn by, as losses.bce, losses.dice and losses.quality "
                "are all 0: give one of them a weight, or a distillation."
            )

    def check_prompt_free(self, family: str) -> None:
        """Refuse a network of `family`, which takes no prompt, when the base is known.

        Raises:
            RecipeError: says which key does not fit and what to write instead.
        """
        raise RecipeError(
            f"Stage {self.name} is of kind {self.kind}, and a {family} trains only with kind full."
        )

    def check_entry(self, adapted: bool, image_size: int) -> None:
        """Refuse a model with or without adapters, or of this image size, before the first stage begins.

        Raises:
            RecipeError: says which stage and the remedy.
        """
        if adapted and (self.adds_adapters or self.size_within(image_size) != image_size):
            raise RecipeError(
                f"Stage {self.name} would adapt or resize a base that carries adapters already: merge them "
                "with `adaloraqat export RUN --to huggingface --out FOLDER`, and start from that folder."
            )

    def check_steps(self, steps: int) -> None:
        """Refuse a number of optimiser steps, which is known only with the films.

        Raises:
            RecipeError: says which stage and the remedy.
        """

    def machine_warnings(self) -> list[str]:
        """Return what a person should know about this computer before the stage trains on it."""
        return []

    def notes(self, model: SegmentationModel) -> list[str]:
        """Return what the stage makes of its own settings on this model, where that is not as they read."""
        return []

    # ---- entering ----------------------------------------------------------------------------------------

    def size_within(self, image_size: int) -> int:
        """Return the image size inside the stage of a model that enters with `image_size`."""
        return image_size

    def enter(
        self, model: SegmentationModel, structure: Structure, seed: int
    ) -> tuple[SegmentationModel, Structure]:
        """Change the module tree as the stage needs it; weights that stay keep their values.

        Returns:
            the model, which may be the one that was given, and its structure.
        """
        return model, structure

    def begin(self, model: SegmentationModel, folder: Path) -> None:
        """Set the entered model's weights from what earlier stages left in the run `folder`; here, keep them.

        Raises:
            CheckpointError: what they left is damaged.
        """

    @property
    def calibrated_on(self) -> int:
        """How many training films activation ranges are measured on; 0 where nothing is quantised."""
        return 0

    def calibrate(
        self, model: SegmentationModel, films: FilmSet, preprocessing: Preprocessing, seed: int
    ) -> None:
        """Measure on training films what the entered model needs before its first step."""

    # ---- training ----------------------------------------------------------------------------------------

    def learns(self, part: str) -> bool:
        """Whether the `encoder`, `decoder`, `prompts`, `adapters` or `singular_values` learn."""
        return True

    def hooks(self, model: SegmentationModel, optimizer: Optimizer, report: Report) -> Hooks:
        """Return what happens between the steps of the stage that now begins or continues."""
        return Hooks()

    def loss_terms(self, model: SegmentationModel) -> dict[str, Tensor]:
        """Return weighted loss terms () beside those of the masks, the quality and the teacher."""
        return {}

    def metrics(self, model: SegmentationModel) -> dict[str, Any]:
        """Return what metrics.jsonl says of the model after an epoch, beside losses and scores."""
        return {}

    # ---- the end -----------------------------------------------------------------------------------------

    def conclusion(self, before: float, after: float, largest_change: float | None) -> str | None:
        """Return a line about what the stage gained.

        Args:
            before: the monitored score before the first step.
            after: that of the weights that are kept.
            largest_change: of a singular value; None where there are none, or their number changed.
        """
        return None

    def save(self, model: SegmentationModel, folder: Path, base: str | None) -> None:
        """Write what the finished stage leaves in the run `folder` beside its model.

        Args:
            model: on the CPU.
            folder: of the run.
            base: the recipe's base weights; None for random ones.

        Raises:
            OutputError: it cannot be written.
        """

    def warnings(self, result: dict[str, Any]) -> list[str]:
        """Return what a person should know about the stage's entry of result.json."""
        return []


KINDS: dict[str, type[Stage]] = {}
"""Every kind that a recipe can name."""

Kind = TypeVar("Kind", bound=Stage)


def register(kind: type[Kind]) -> type[Kind]:
    """Make a kind known to recipes, under the default of its field `kind`; use it as a decorator."""
    KINDS[kind.model_fields["kind"].default] = kind
    return kind
