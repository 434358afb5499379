"""Stage kind `average`: the mean of weights, of earlier stages of the run or of other trainings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator

from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.models.checkpoints import load_base
from adaloraqat.models.families import SegmentationModel, architecture_of
from adaloraqat.training.kinds.base import Stage, register
from adaloraqat.training.kinds.full import FullStage
from adaloraqat.training.run_folder import RunFolder, load_tensors
from adaloraqat.training.structure import Structure


@register
class AverageStage(Stage):
    """Average weights, training nothing (Wortsman et al., arXiv 2109.01903, 2203.05482).

    A stage on films nearly as they are draws finer outlines on films like those of the training, and worse
    ones on films of other hospitals; the mean with a stage before it keeps most of both.

    `of` gives earlier stages of the run their shares, which need not add up to 1: `{distilled: 1, calm: 2}`.
    All are `full` stages of one image size, and so are those between them: adapters and ranges have no mean.
    `weights` gives shares to weights of other trainings, named as `base.weights` names them (a bundle, a
    Hugging Face folder); they are of the model's architecture, and take its image size.
    """

    start_counts = True

    kind: Literal["average"] = "average"
    of: dict[str, float] = Field(default_factory=dict)
    weights: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _shares_positive(self) -> "AverageStage":
        shares = [*self.of.values(), *self.weights.values()]
        if len(shares) < 2:
            raise ValueError("a mean needs at least 2 members in `of` and `weights` together")
        if min(shares) <= 0:
            raise ValueError("each member of a mean needs a share above 0; leave out those that do not count")
        return self

    def check_order(self, before: Sequence[Stage], pretrained: bool) -> None:
        """Refuse stages that do not come before, and those whose weights do not correspond."""
        super().check_order(before, pretrained)
        names = [stage.name for stage in before]
        for name in self.of:
            if name not in names:
                known = f"choose from {', '.join(names)}" if names else "none does"
                raise ValueError(f"stage {self.name} averages {name}, which does not come before it: {known}")
        since = before[min((names.index(name) for name in self.of), default=len(before)) :]
        for stage in since:
            resized = isinstance(stage, FullStage) and stage is not since[0] and stage.image_size is not None
            if resized or not isinstance(stage, FullStage | AverageStage):
                what = "changes the image size" if resized else f"is of kind {stage.kind}"
                raise ValueError(
                    f"stage {self.name} averages weights from before and after {stage.name}, which {what}: "
                    "average full stages of one image size"
                )

    def check_entry(self, adapted: bool, image_size: int) -> None:
        """Refuse weights that are not there, and a base with adapters: P, Λ and Q have no means."""
        if adapted:
            raise RecipeError(
                f"Stage {self.name} would average a base that carries adapters, which have no mean: merge "
                "them with `adaloraqat export RUN --to huggingface --out FOLDER`, and start from that folder."
            )
        for path in self.weights:
            load_base(path, image_size)

    def enter(
        self, model: SegmentationModel, structure: Structure, seed: int
    ) -> tuple[SegmentationModel, Structure]:
        """Refuse weights of another architecture than the model's."""
        config = architecture_of(model)
        for path in self.weights:
            if architecture_of(load_base(path, int(config["image_size"]))) != config:
                raise RecipeError(
                    f"Stage {self.name} cannot average {Path(path).name}: it is of another architecture than "
                    "the model."
                )
        return model, structure

    def begin(self, model: SegmentationModel, folder: Path) -> None:
        """Put the mean of the members' weights, and of their batch norms' statistics, into the model."""
        total = sum(self.of.values()) + sum(self.weights.values())
        mean = {name: torch.zeros_like(value) for name, value in _floats(model.state_dict()).items()}
        for name, share in self.of.items():
            tensors = load_tensors(RunFolder(folder).stage_path(name))[0]
            if _floats(tensors).keys() != mean.keys():
                raise CheckpointError(f"The weights of stage {name} do not fit its recipe; train it again.")
            _add(mean, tensors, share / total)
        size = int(architecture_of(model)["image_size"])
        for path, share in self.weights.items():
            _add(mean, load_base(path, size).state_dict(), share / total)
        model.load_state_dict(mean, strict=False)

    def learns(self, part: str) -> bool:
        """Nothing does."""
        return False


def _add(mean: dict[str, torch.Tensor], state: dict[str, torch.Tensor], share: float) -> None:
    for name, value in _floats(state).items():
        mean[name] += share * value.to(mean[name].device)


def _floats(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if value.is_floating_point()}
