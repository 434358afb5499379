"""The one training loop: every stage of every recipe, ours and baselines, runs through `StageTraining`."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from adaloraqat.errors import CheckpointError
from adaloraqat.lowrank.adalora import adapters_of, capacities
from adaloraqat.lowrank.orthogonality import relative_update
from adaloraqat.models.families import SegmentationModel
from adaloraqat.models.sam import decode
from adaloraqat.progress import Item, Pace, Report
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.batches import Batch, Batches, step_prompts
from adaloraqat.training.distillation import (
    Distiller,
    Teacher,
    embedding_width,
    remember,
)
from adaloraqat.training.films import embed
from adaloraqat.training.frozen import layout_of, remember_frozen
from adaloraqat.training.optimization import (
    Group,
    gradients,
    make_optimizer,
    mask_terms,
    optimizer_tensors,
    rates,
    restore_optimizer,
    set_training,
    trainable_groups,
)
from adaloraqat.training.processes import ALONE, Processes, precision_on
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.run_films import RunFilms
from adaloraqat.training.run_folder import RunFolder, Saved, named_under, under
from adaloraqat.training.structure import Structure
from adaloraqat.training.trackers import Trackers, pictures
from adaloraqat.training.validate import in_words, validate

OnStep = Callable[[str, int, int], None]
"""Receives (stage, steps done, steps in all)."""


@dataclass(frozen=True)
class RunContext:
    """What all stages of a run share.

    Attributes:
        recipe: of the run.
        films: both splits, at any size.
        folder: where the run is written.
        teachers: by name and image size in the recipe: a frozen model on `device`, and its preprocessing.
        device: where the model computes.
        report: receives one line of progress at a time.
        on_step: receives (stage, steps done, steps in all) after each step.
        processes: this one among those that train together.
        trackers: receive what the run folder does, and single steps.
    """

    recipe: Recipe
    films: RunFilms
    folder: RunFolder
    teachers: Mapping[tuple[str, int | None], tuple[SegmentationModel, Preprocessing]]
    device: torch.device
    report: Report
    on_step: OnStep
    processes: Processes = ALONE
    trackers: Trackers = field(default_factory=Trackers)


@dataclass
class StageProgress:
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
    """One stage on one model: optimiser, schedule, early stopping, checkpoints.

    What differs from kind to kind is asked of the stage (`kinds.base.Stage`) and of its hooks.
    """

    def __init__(
        self,
        context: RunContext,
        number: int,
        model: SegmentationModel,
        structure: Structure,
        lines: int = 0,
        saved: Saved | None = None,
    ) -> None:
        """Take a model that has entered stage `number`.

        Args:
            context: of the run.
            number: of the stage, from 0.
            model: on the device of the run.
            structure: of the model.
            lines: lines of metrics.jsonl before the stage.
            saved: a checkpoint inside the stage to continue from; the model holds its weights already.
        """
        self.context, self.number, self.model = context, number, model
        self.stage = context.recipe.stages[number]
        self.preprocessing = structure.preprocessing_at()
        self.films, self.validation = context.films.at(self.preprocessing)
        self.batches = Batches(context.recipe, number, self.films)
        self.distiller = self._new_distiller()
        self.groups = trainable_groups(model, self.stage, context.recipe.prompts.clicks is not None)
        self.frozen, self._frozen_validation = remember_frozen(
            self.stage,
            model,
            self.preprocessing,
            self.batches,
            len(self.validation),
            context.folder.folder,
            context.report,
        )
        extra = self.distiller.parameters() if self.distiller is not None else {}
        self.extra_groups = [Group("encoder", extra, decayed=False)] if extra else []
        self.optimizer = make_optimizer([*self.groups, *self.extra_groups], self.stage)
        self.hooks = self.stage.hooks(model, self.optimizer, context.report)
        self.progress = StageProgress(lines=lines, budgets=list(self.hooks.budgets))
        self.initial_singular_values = self._singular_values()
        films_a_pass = self.batches.sampler.pass_length
        self.steps_per_epoch, self.total_steps = self.stage.schedule.steps(films_a_pass)
        self._entered, self._resumed = structure, saved is not None
        self._pace = Pace(context.report)
        if saved is not None:
            self._restore(*saved)

    def _new_distiller(self) -> Distiller | None:
        choice, context = self.stage.distillation, self.context
        if choice is None:
            return None
        network, own = context.teachers[choice.teacher, choice.image_size]
        teacher = Teacher(network, own, context.films.for_teacher(own))
        with context.processes.main_first():
            teacher = remember(teacher, self.stage, choice, context.folder.folder, context.report)
        return Distiller(choice, teacher, embedding_width(self.model), self.preprocessing.image_size)

    @property
    def structure(self) -> Structure:
        """What the model consists of now; the last prune makes adapters smaller."""
        return replace(self._entered, ranks=capacities(self.model) or None)

    @property
    def trainable(self) -> int:
        """How many numbers of the model learn now."""
        return sum(parameter.numel() for parameter in self._parameters())

    # ---- running -------------------------------------------------------------------------------------

    def train(self) -> dict[str, Any]:
        """Train to the end of the stage; leave the best weights in the model.

        Returns:
            the stage's entry of result.json.
        """
        started = time.perf_counter()
        stage, progress, monitor = self.stage, self.progress, self.context.recipe.monitor
        if not self._resumed and self.distiller is not None:
            self.distiller.fit(self.model, self.films, self.preprocessing)
        learning = [p for group in self.extra_groups for p in group.parameters.values()]
        self.context.processes.spread([*self.model.state_dict().values(), *learning])
        if not self._resumed:
            # The base, or plain post-training quantisation:
            progress.first = self._validate("before the first step")
            self._log({"loss": None, "validation": progress.first}, 0.0)
            self._checkpoint()
        if stage.start_counts and progress.epoch == 0:
            # Only after the stage's first checkpoint: best.safetensors may still be the stage before's.
            self._keep_if_best(progress.first)
        while self.trainable and progress.epoch < stage.schedule.epochs and not self._patience_over():
            self._epoch()
        best, change = self._load_best(), self._largest_change()
        conclusion = stage.conclusion(progress.first[monitor], best[monitor], change)
        if conclusion is not None:
            self.context.report(conclusion)
        ranks = self.structure.ranks
        return {
            "name": stage.name,
            "kind": stage.kind,
            "epochs": progress.epoch,
            "steps": progress.step,
            "best_epoch": progress.best_epoch,
            "before": progress.first,
            "after": best,
            "precision": precision_on(self.context.device, stage.schedule.precision),
            "trainable_parameters": self.trainable,
            "max_singular_value_change": change,
            "ranks": ranks,
            "budgets": progress.budgets,
            "relative_update": relative_update(self.model) if ranks else None,
            "timing": {"seconds": time.perf_counter() - started},
        }

    def _epoch(self) -> None:
        started = time.perf_counter()
        progress = self.progress
        set_training(self.model)
        sums: dict[str, float] = {}
        for _ in range(self.steps_per_epoch):
            terms = self.step()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value / self.steps_per_epoch
            self.context.trackers.step(self.stage.name, progress.step, terms, rates(self.optimizer))
            self.context.on_step(self.stage.name, progress.step, self.total_steps)
            self._pace.tell(f"{self.stage.name}: step {progress.step} of {self.total_steps}")
        # A last step that no other follows, whose loss would tell:
        self._check_finite(get_total_norm([p.detach() for p in self._parameters()]), "norm of the weights")
        progress.epoch += 1
        self.hooks.after("epoch", progress.epoch)
        scores = self._validate(f"after epoch {progress.epoch}")
        entry: dict[str, Any] = {"loss": sums, "validation": scores}
        if self.batches.several_modalities:
            seen = range(progress.step - self.steps_per_epoch, progress.step)
            entry["modalities"] = self.batches.sampler.shares(self.stage.schedule.batch_size, seen)
        self._log(entry | self.stage.metrics(self.model), time.perf_counter() - started)
        self._keep_if_best(scores)
        self._checkpoint()

    def _validate(self, when: str) -> dict[str, float]:
        """Score the validation films; say so at once, and how far it is where that takes long."""
        name, count = self.stage.name, len(self.validation)
        if not self.progress.epoch:
            self.context.report(f"{name}: scoring {count} validation films {when}")

        def paced(starts: Sequence[Item], what: str) -> Iterator[Item]:
            for start in starts:
                self._pace.tell(f"{name}: scored {start} of {count} validation films {when}")
                yield start

        return validate(
            self.model,
            self.validation,
            self.preprocessing,
            paced,
            self.context.processes,
            self._frozen_validation,
            self.context.recipe.clicks_scored,
        )

    def step(self) -> dict[str, float]:
        """Take one optimiser step on the next batch; return the loss terms, and their sum as `total`."""
        stage, model, schedule, progress = self.stage, self.model, self.stage.schedule, self.progress
        device, processes = self.context.device, self.context.processes
        in_half = precision_on(device, schedule.precision) == "bfloat16"
        half = torch.autocast(device.type, torch.bfloat16, enabled=in_half)
        layout = layout_of(stage)

        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}  # of the loss terms, each part of the batch with its share
        for batch, share in processes.shares(self.batches.draw(progress.step), schedule.accumulate):
            boxes, wanted = (
                batch.boxes.to(device),
                batch.wanted.to(device),
            )  # drawn on the CPU: alike everywhere
            with half:
                embedding = self._embed(batch, layout)  # (B, D, g, g)
                prompts = step_prompts(model, batch, embedding, boxes, wanted)
                logits, quality = decode(model, embedding, *prompts)  # (B, 1, 4g, 4g), (B, 1)
            logits = logits.float() if in_half else logits
            logits = F.interpolate(logits, size=wanted.shape[-2:], mode="bilinear", align_corners=False)

            terms = mask_terms(logits, quality, wanted, stage.losses) | stage.loss_terms(model)
            if self.distiller is not None:
                with half:
                    terms |= self.distiller.terms(batch.indices, batch.warp, embedding, logits, boxes, wanted)
            loss = torch.stack(list(terms.values())).sum()
            (share * loss).backward()
            for name, term in (terms | {"total": loss}).items():
                sums[name] = share * term.detach() + sums.get(name, 0)
        processes.add_up([*sums.values(), *gradients(self.optimizer)])
        self._check_finite(sums["total"], "loss")
        parameters = self._parameters()
        self._check_finite(get_total_norm([p.grad for p in parameters if p.grad is not None]), "gradient")
        self.hooks.after_backward()  # before clipping: importance is read from true gradients
        if schedule.clip_gradient is not None:
            clip_grad_norm_(parameters, schedule.clip_gradient)

        share = schedule.share_of_peak(progress.step, self.total_steps)
        for setting in self.optimizer.param_groups:
            setting["lr"] = setting["peak"] * share
        self.optimizer.step()
        progress.step += 1
        self.hooks.after("step", progress.step)
        return {name: float(value) for name, value in sums.items()}

    def _embed(self, batch: Batch, layout: torch.memory_format) -> Tensor:
        if self.frozen is None:
            return embed(self.model, batch.images, batch.valid, self.preprocessing, layout)
        return self.frozen.embed(self.batches.rows(batch), batch.images, batch.valid)

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.groups for parameter in group.parameters.values()]

    def _check_finite(self, value: Tensor, what: str) -> None:
        if not bool(torch.isfinite(value)):
            raise CheckpointError(
                f"Training diverged in stage {self.stage.name} at step {self.progress.step} (the {what} is "
                "not finite); lower the learning rates and start again with another --out."
            )

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

    # ---- keeping -------------------------------------------------------------------------------------

    def _keep_if_best(self, scores: dict[str, float]) -> None:
        if not self.hooks.settled:
            return
        score, progress = scores[self.context.recipe.monitor], self.progress
        if score > progress.best:
            progress.best, progress.best_epoch, progress.worse_epochs = score, progress.epoch, 0
            document = {"structure": asdict(self.structure), "scores": scores}
            self.context.folder.save_best(self.model.state_dict(), document)
        else:
            progress.worse_epochs += 1

    def _patience_over(self) -> bool:
        patience = self.stage.schedule.patience
        return patience is not None and self.hooks.settled and self.progress.worse_epochs >= patience

    def _load_best(self) -> dict[str, float]:
        if self.progress.best_epoch < 0:
            return self.progress.first
        self.context.processes.wait()
        tensors, document = self.context.folder.load_best()
        self.model.load_state_dict(tensors)
        return document["scores"]

    def _log(self, entry: dict[str, Any], seconds: float) -> None:
        name, progress = self.stage.name, self.progress
        line = {"stage": name, "epoch": progress.epoch, "step": progress.step, **entry}
        self.context.folder.append_metrics({**line, "timing": {"seconds": seconds}})
        progress.lines += 1
        self.context.trackers.epoch(
            name, progress.step, entry, lambda: pictures(self.model, self.validation, self.preprocessing)
        )
        loss = f"loss {entry['loss']['total']:.4f}  " if entry["loss"] else ""
        scores = in_words(entry["validation"])
        self.context.report(f"{name} epoch {progress.epoch}/{self.stage.schedule.epochs}  {loss}{scores}")

    def _checkpoint(self) -> None:
        names = {id(parameter): name for name, parameter in self._learning().items()}
        tensors = named_under("model", self.model.state_dict())
        for group in self.extra_groups:
            tensors |= named_under("beside", group.parameters)
        tensors |= named_under("optimizer", optimizer_tensors(self.optimizer, names))
        tensors |= named_under("initial", self.initial_singular_values)
        tensors |= named_under("allocator", self.hooks.state_dict())
        best = self.progress.best
        progress = {**vars(self.progress), "best": best if math.isfinite(best) else None}
        document = {"stage": self.number, "structure": asdict(self.structure), "progress": progress}
        self.context.folder.save_checkpoint(tensors, document)

    def _learning(self) -> dict[str, nn.Parameter]:
        """Return all that learns, of the model and beside it, by the names it has in checkpoints."""
        return {n: p for group in [*self.groups, *self.extra_groups] for n, p in group.parameters.items()}

    def _restore(self, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
        best = document["progress"]["best"]
        self.progress = StageProgress(**{**document["progress"], "best": -math.inf if best is None else best})
        parameters = self._learning()
        with torch.no_grad():
            for name, value in under("beside", tensors).items():
                parameters[name].copy_(value)
        restore_optimizer(self.optimizer, under("optimizer", tensors), parameters)
        self.initial_singular_values = under("initial", tensors)
        self.hooks.load_state_dict(under("allocator", tensors))
