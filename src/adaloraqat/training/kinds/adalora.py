"""Stage kind `adalora`: stage 1 of the paper, SVD adapters that share one rank budget."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor
from torch.optim import Optimizer

from adaloraqat.errors import RecipeError
from adaloraqat.lowrank.adalora import (
    adapted_width,
    adapters_of,
    add_adapters,
    capacities,
    remove_pruned,
    scaled_ranks,
)
from adaloraqat.lowrank.orthogonality import adaptation_warnings, orthogonality_loss, relative_update
from adaloraqat.lowrank.peft_format import save_peft
from adaloraqat.lowrank.rank_allocator import RankAllocator
from adaloraqat.models.families import SegmentationModel
from adaloraqat.progress import Report
from adaloraqat.training.kinds.base import Hooks, Stage, Unit, register
from adaloraqat.training.structure import Structure


@register
class AdaLoRAStage(Stage):
    """Stage 1 of the paper: SVD adapters on q, k, v with one global rank budget; the decoder fully trained.

    With the defaults on ViT-B: 36 matrices start at rank 48 (1,728 components) and are stepped down at
    epochs 3, 7 and 12 to 32 on average (1,152). `prune_at` counts epochs, or steps with `prune_unit: step`.
    An empty `prune_at` keeps every rank (plain fixed-rank adapters).
    """

    adapts = True
    adds_adapters = True
    needs_plain = "at most one adalora stage"

    kind: Literal["adalora"] = "adalora"
    r_max: int = Field(default=48, ge=1)
    r_target: int = Field(default=32, ge=1)
    prune_at: tuple[int, ...] = (3, 7, 12)
    prune_unit: Unit = "epoch"
    train_decoder: bool = True

    @model_validator(mode="after")
    def _schedule_works(self) -> "AdaLoRAStage":
        if self.r_target > self.r_max:
            raise ValueError(f"r_target {self.r_target} exceeds r_max {self.r_max}; lower r_target")
        if list(self.prune_at) != sorted(set(self.prune_at)) or any(point < 1 for point in self.prune_at):
            raise ValueError("prune_at must be increasing positive numbers, such as [3, 7, 12]")
        if self.prune_unit == "epoch" and self.prune_at and self.prune_at[-1] >= self.schedule.epochs:
            raise ValueError(
                f"the last prune is at epoch {self.prune_at[-1]} but training ends at epoch "
                f"{self.schedule.epochs}: prune earlier or train longer, so that the kept ranks can settle"
            )
        steps = self.schedule.steps_per_epoch
        if self.prune_unit == "step" and self.prune_at and steps is not None:
            total = self.schedule.epochs * steps
            if self.prune_at[-1] >= total:
                raise ValueError(
                    f"the last prune is at step {self.prune_at[-1]} but training has {total} steps "
                    f"({self.schedule.epochs} epochs of {steps}): prune earlier or train longer"
                )
        return self

    def check_steps(self, steps: int) -> None:
        """Refuse a prune that would come after the last step."""
        if self.prune_unit == "step" and self.prune_at and self.prune_at[-1] >= steps:
            raise RecipeError(
                f"The last prune is at step {self.prune_at[-1]} but stage {self.name} has only "
                f"{steps} steps on these films; prune earlier or train longer."
            )

    def enter(
        self, model: SegmentationModel, structure: Structure, seed: int
    ) -> tuple[SegmentationModel, Structure]:
        """Adapt every q, k and v with ΔW = 0."""
        add_adapters(model, r_max=self.r_max, seed=seed)
        return model, replace(structure, ranks=capacities(model))

    def notes(self, model: SegmentationModel) -> list[str]:
        """Say where a small width caps the ranks, and where no prune will bring them to r_target."""
        width = adapted_width(model)
        rank, target = scaled_ranks(self.r_max, self.r_target, width)
        found = []
        if rank < self.r_max:
            found.append(
                f"r_max {self.r_max} is capped to {rank}, an eighth of the smallest adapted width ({width}), "
                f"and r_target {self.r_target} becomes {target}"
            )
        if not self.prune_at and self.r_target < self.r_max:
            found.append(
                f"prune_at is empty, so nothing is pruned to r_target {self.r_target}: every matrix keeps "
                f"rank {rank}"
            )
        return found

    def learns(self, part: str) -> bool:
        """Whether it belongs to the adapters, or is the decoder where it learns too."""
        return part in ("adapters", "singular_values") or (part == "decoder" and self.train_decoder)

    def hooks(self, model: SegmentationModel, optimizer: Optimizer, report: Report) -> Hooks:
        """Return the rank allocation; nothing where no prune is planned or possible, or all are done."""
        adapters, width = adapters_of(model), adapted_width(model)
        rank, target = scaled_ranks(self.r_max, self.r_target, width)  # a small encoder gets smaller ranks
        removed = any(adapter.capacity != rank for adapter in adapters.values())
        if not self.prune_at or removed or target >= rank:
            return Hooks()
        return RankPruning(self, RankAllocator(adapters, target, self.prune_at), model, optimizer, report)

    def loss_terms(self, model: SegmentationModel) -> dict[str, Tensor]:
        """Return the orthogonality of the adapters' bases."""
        return {"orthogonality": self.losses.orthogonality * orthogonality_loss(model)}

    def metrics(self, model: SegmentationModel) -> dict[str, Any]:
        """Return rank and ‖ΔW‖/‖W‖ of each matrix."""
        ranks = {name: adapter.rank for name, adapter in adapters_of(model).items()}
        return {"ranks": ranks, "relative_update": relative_update(model)}

    def save(self, model: SegmentationModel, folder: Path, base: str | None) -> None:
        """Write `adapter/` in peft's AdaLoRA format."""
        save_peft(model, folder / "adapter", base)

    def warnings(self, result: dict[str, Any]) -> list[str]:
        """Return sentences about adapters that learned next to nothing, or never changed their ranks."""
        found = adaptation_warnings(result["relative_update"], result["ranks"], result["budgets"])
        if self.prune_at and not result["budgets"]:
            found.append(
                f"The ranks never changed: r_target {self.r_target} of r_max {self.r_max} leaves "
                "nothing to prune in this encoder; lower r_target, or give prune_at: [] for a fixed rank."
            )
        return found


class RankPruning(Hooks):
    """Sums up importance after each backward pass, and prunes at the points of the stage.

    After the last prune the masked components are removed from the model and from the optimiser.
    """

    def __init__(
        self,
        stage: AdaLoRAStage,
        allocator: RankAllocator,
        model: SegmentationModel,
        optimizer: Optimizer,
        report: Report,
    ) -> None:
        self._stage, self._allocator = stage, allocator
        self._model, self._optimizer, self._report = model, optimizer, report
        self.budgets, self.settled = allocator.budgets, False

    def after_backward(self) -> None:
        """Add up the importance of every component."""
        self._allocator.accumulate()

    def after(self, unit: Unit, point: int) -> None:
        """Prune where it is due; a model before the last prune is not the one that was asked for."""
        if unit != self._stage.prune_unit or not self._allocator.due(point):
            return
        ranks = self._allocator.prune(point)
        self._report(f"{self._stage.name}: pruned to {sum(ranks.values())} components at {unit} {point}")
        self.settled = self._allocator.finished
        if self.settled:
            remove_pruned(self._model, self._optimizer)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the importance so far; nothing after the last prune."""
        return {} if self.settled else self._allocator.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on with the importance so far."""
        self._allocator.load_state_dict(state)
