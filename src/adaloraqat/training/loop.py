"""The one training loop: every stage of every recipe, ours and baselines, runs through `StageTraining`."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from adaloraqat.errors import CheckpointError
from adaloraqat.lowrank import (
    RankAllocator,
    adapted_width,
    adapters_of,
    relative_update,
    remove_pruned,
    scaled_ranks,
)
from adaloraqat.models.families import SegmentationModel
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.checkpoint import optimizer_tensors, restore_optimizer
from adaloraqat.training.distillation import Distiller
from adaloraqat.training.films import FilmSet
from adaloraqat.training.objective import Objective
from adaloraqat.training.optimization import make_optimizer, share_of_peak
from adaloraqat.training.recipe import AdaLoRAStage, Recipe, Stage
from adaloraqat.training.run_folder import RunFolder
from adaloraqat.training.stage_order import steps_of
from adaloraqat.training.stages import (
    Group,
    capacities,
    count_trainable,
    learning_rate,
    set_training,
    trainable_groups,
)
from adaloraqat.training.structure import Structure
from adaloraqat.training.validate import in_words, validate

Report = Callable[[str], None]
Steps = Callable[[str, int, int], None]
"""Receives (stage, steps done, steps in all)."""


def no_steps(stage: str, done: int, total: int) -> None:
    """Show no progress within an epoch."""


@dataclass
class Progress:
    """Where a stage stands; all of it goes into the checkpoint."""

    epoch: int = 0
    step: int = 0
    best: float = -math.inf
    best_epoch: int = -1
    worse_epochs: int = 0
    first: dict[str, float] = field(default_factory=dict)
    lines: int = 0
    budgets: list[int] = field(default_factory=list)


class StageTraining:
    """One stage on one model: optimiser, schedule, rank allocator, early stopping, checkpoints."""

    def __init__(
        self,
        recipe: Recipe,
        number: int,
        model: SegmentationModel,
        structure: Structure,
        films: FilmSet,
        validation: FilmSet,
        preprocessing: Preprocessing,
        run: RunFolder,
        report: Report,
        steps: Steps = no_steps,
        distiller: Distiller | None = None,
    ) -> None:
        self.recipe, self.number, self.model, self.structure = recipe, number, model, structure
        self.stage: Stage = recipe.stages[number]
        self.objective = Objective(recipe, number, films, preprocessing, distiller)
        self.validation, self.preprocessing = validation, preprocessing
        self.run, self.report, self.steps = run, report, steps
        self.progress = Progress()
        self.groups: list[Group] = trainable_groups(model, self.stage)
        self.trainable = count_trainable(self.groups)
        self.beside: list[Group] = _beside(distiller)
        self.initial_singular_values = self._singular_values()
        self.optimizer = make_optimizer([*self.groups, *self.beside], self.stage.schedule)
        self.allocator = self._new_allocator()
        if self.allocator is not None:
            self.progress.budgets = list(self.allocator.budgets)
        films_a_pass = self.objective.sampler.pass_length
        self.steps_per_epoch, self.total_steps = steps_of(self.stage.schedule, films_a_pass)

    def _new_allocator(self) -> RankAllocator | None:
        stage = self.stage
        if not isinstance(stage, AdaLoRAStage) or not stage.prune_at:
            return None
        adapters = adapters_of(self.model)
        width = adapted_width(self.model)
        rank, target = scaled_ranks(stage.r_max, stage.r_target, width)  # a small encoder gets smaller ranks
        removed = any(adapter.capacity != rank for adapter in adapters.values())
        return None if removed or target >= rank else RankAllocator(adapters, target, stage.prune_at)

    # ---- running -------------------------------------------------------------------------------------

    def train(self, saved: tuple[dict[str, Tensor], dict[str, Any]] | None) -> dict[str, Any]:
        """Train to the end of the stage, from `saved` where given; leave the best weights in the model.

        Returns:
            the stage's entry of result.json.
        """
        started = time.perf_counter()
        if saved is not None:
            self._restore(*saved)
        else:
            self.objective.start_distillation(self.model)
            self._measure_start()
        if self.stage.kind == "quantize" and self.progress.epoch == 0:
            # Only after the stage's first checkpoint: best.safetensors may still be the stage before's.
            self._keep_if_best(self.progress.first)
        while (
            self.trainable and self.progress.epoch < self.stage.schedule.epochs and not self._patience_over()
        ):
            self._epoch()
        best = self._load_best()
        if self.stage.kind == "quantize":
            self._report_gain(best)
        return {
            "name": self.stage.name,
            "kind": self.stage.kind,
            "epochs": self.progress.epoch,
            "steps": self.progress.step,
            "best_epoch": self.progress.best_epoch,
            "before": self.progress.first,
            "after": best,
            "trainable_parameters": self.trainable,
            "max_singular_value_change": self._largest_change(),
            "ranks": self.structure.ranks,
            "budgets": self.progress.budgets,
            "relative_update": relative_update(self.model) if self.structure.ranks else None,
            "timing": {"seconds": time.perf_counter() - started},
        }

    def _measure_start(self) -> None:
        """Score the model before the first step: the base, or plain post-training quantisation."""
        self.progress.first = validate(self.model, self.validation, self.preprocessing)
        self._log({"loss": None, "validation": self.progress.first}, 0.0)
        self._checkpoint()

    def _epoch(self) -> None:
        started = time.perf_counter()
        set_training(self.model)
        sums: dict[str, float] = {}
        for _ in range(self.steps_per_epoch):
            for name, value in self._step().items():
                sums[name] = sums.get(name, 0.0) + value / self.steps_per_epoch
            self.steps(self.stage.name, self.progress.step, self.total_steps)
        self._check_weights()
        self.progress.epoch += 1
        self._prune("epoch", self.progress.epoch)
        scores = validate(self.model, self.validation, self.preprocessing)
        entry: dict[str, Any] = {"loss": sums, "validation": scores}
        if self.objective.several_modalities:
            seen = range(self.progress.step - self.steps_per_epoch, self.progress.step)
            entry["modalities"] = self.objective.sampler.shares(self.stage.schedule.batch_size, seen)
        if isinstance(self.stage, AdaLoRAStage):
            entry["ranks"] = {name: adapter.rank for name, adapter in adapters_of(self.model).items()}
            entry["relative_update"] = relative_update(self.model)
        self._log(entry, time.perf_counter() - started)
        self._keep_if_best(scores)
        self._checkpoint()

    def _step(self) -> dict[str, float]:
        stage, step = self.stage, self.progress.step
        groups = [*self.groups, *self.beside]
        share = share_of_peak(stage.schedule, step, self.total_steps)
        for group, setting in zip(groups, self.optimizer.param_groups, strict=True):
            setting["lr"] = learning_rate(stage, group.rate) * share
        terms = self.objective.terms(self.model, step)
        loss = torch.stack(list(terms.values())).sum()
        self._check_finite(loss, "loss")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._check_finite(self._gradient_norm(), "gradient")
        if self.allocator is not None:
            self.allocator.accumulate()  # before clipping: importance is read from true gradients
        if stage.schedule.clip_gradient is not None:
            parameters = [p for group in self.groups for p in group.parameters.values()]
            torch.nn.utils.clip_grad_norm_(parameters, stage.schedule.clip_gradient)
        self.optimizer.step()
        self.progress.step += 1
        self._prune("step", self.progress.step)
        return {name: float(value.detach()) for name, value in terms.items()} | {
            "total": float(loss.detach())
        }

    def _gradient_norm(self) -> Tensor:
        parameters = [p for group in self.groups for p in group.parameters.values()]
        return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    def _check_weights(self) -> None:
        """Notice a last step that no other follows, whose loss would tell."""
        parameters = [p.detach() for group in self.groups for p in group.parameters.values()]
        self._check_finite(torch.nn.utils.get_total_norm(parameters), "norm of the weights")

    def _check_finite(self, value: Tensor, what: str) -> None:
        if not bool(torch.isfinite(value)):
            raise CheckpointError(
                f"Training diverged in stage {self.stage.name} at step {self.progress.step} (the {what} is "
                "not finite); lower the learning rates and start again with another --out."
            )

    # ---- ranks ---------------------------------------------------------------------------------------

    def _prune(self, unit: str, point: int) -> None:
        stage = self.stage
        if self.allocator is None or not isinstance(stage, AdaLoRAStage) or stage.prune_unit != unit:
            return
        if not self.allocator.due(point):
            return
        ranks = self.allocator.prune(point)
        self.report(f"{stage.name}: pruned to {sum(ranks.values())} components at {unit} {point}")
        if self.allocator.finished:
            remove_pruned(self.model, self.optimizer)
            self.groups = trainable_groups(self.model, stage)
            self.structure = self.structure.with_ranks(capacities(self.model))
            self.allocator = None
            self.trainable = count_trainable(self.groups)

    def _pruning_ahead(self) -> bool:
        return self.allocator is not None

    def _singular_values(self) -> dict[str, Tensor]:
        found = adapters_of(self.model).items()
        return {n: a.singular_values.detach().to("cpu", copy=True) for n, a in found}

    def _largest_change(self) -> float | None:
        """Return max |Δλ| over the stage, None where the stage changed the number of components."""
        first = self.initial_singular_values
        changes = [
            float((now - first[name]).abs().max())
            for name, now in self._singular_values().items()
            if now.numel() and now.shape == first[name].shape
        ]
        return max(changes) if changes else None

    def _report_gain(self, best: dict[str, float]) -> None:
        """Say what training gave over calibration alone (PTQ), and how far the singular values went."""
        before, after = (scores[self.recipe.monitor] for scores in (self.progress.first, best))
        change = self._largest_change()
        moved = "" if change is None else f"; no singular value changed by more than {change:.1e}"
        self.report(
            f"{self.stage.name}: validation Dice {before:.4f} calibrated (PTQ), {after:.4f} trained "
            f"({after - before:+.4f}){moved}"
        )

    # ---- keeping -------------------------------------------------------------------------------------

    def _keep_if_best(self, scores: dict[str, float]) -> None:
        if self._pruning_ahead():
            return  # a model before the last prune is not the model that was asked for
        score, progress = scores[self.recipe.monitor], self.progress
        if score > progress.best:
            progress.best, progress.best_epoch, progress.worse_epochs = score, progress.epoch, 0
            self.run.save_best(
                self.model.state_dict(), {"structure": self.structure.to_dict(), "scores": scores}
            )
        else:
            progress.worse_epochs += 1

    def _patience_over(self) -> bool:
        patience = self.stage.schedule.patience
        return patience is not None and not self._pruning_ahead() and self.progress.worse_epochs >= patience

    def _load_best(self) -> dict[str, float]:
        if self.progress.best_epoch < 0:
            return self.progress.first
        tensors, document = self.run.load_best()
        self.model.load_state_dict(tensors)
        scores: dict[str, float] = document["scores"]
        return scores

    def _log(self, entry: dict[str, Any], seconds: float) -> None:
        progress = self.progress
        line = {"stage": self.stage.name, "epoch": progress.epoch, "step": progress.step, **entry}
        self.run.append_metrics({**line, "timing": {"seconds": seconds}})
        progress.lines += 1
        scores = entry["validation"]
        loss = f"loss {entry['loss']['total']:.4f}  " if entry["loss"] else ""
        self.report(
            f"{self.stage.name} epoch {progress.epoch}/{self.stage.schedule.epochs}  {loss}{in_words(scores)}"
        )

    def _checkpoint(self) -> None:
        names = {id(p): n for group in [*self.groups, *self.beside] for n, p in group.parameters.items()}
        tensors = {f"model/{n}": t for n, t in self.model.state_dict().items()}
        tensors |= {f"beside/{n}": p for group in self.beside for n, p in group.parameters.items()}
        tensors |= {f"optimizer/{n}": t for n, t in optimizer_tensors(self.optimizer, names).items()}
        tensors |= {f"initial/{n}": t for n, t in self.initial_singular_values.items()}
        if self.allocator is not None:
            tensors |= {f"allocator/{n}": t for n, t in self.allocator.state_dict().items()}
        self.run.save_checkpoint(
            tensors,
            {
                "stage": self.number,
                "structure": self.structure.to_dict(),
                "progress": {**vars(self.progress), "best": _finite(self.progress.best)},
            },
        )

    def _restore(self, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
        best = document["progress"]["best"]
        self.progress = Progress(**{**document["progress"], "best": -math.inf if best is None else best})
        parameters = {n: p for group in [*self.groups, *self.beside] for n, p in group.parameters.items()}
        with torch.no_grad():
            for name, value in _under("beside/", tensors).items():
                parameters[name].copy_(value)
        restore_optimizer(self.optimizer, _under("optimizer/", tensors), parameters)
        self.initial_singular_values = _under("initial/", tensors)
        state = _under("allocator/", tensors)
        if self.allocator is not None and state:
            self.allocator.load_state_dict(state)
        elif not state:
            self.allocator = None  # the last prune lies behind


def _beside(distiller: Distiller | None) -> list[Group]:
    """Return what learns beside the model, at the encoder's rate."""
    parameters = distiller.parameters() if distiller is not None else {}
    return [Group("encoder", parameters, decayed=False)] if parameters else []


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
