"""What a training run will do, reported before it begins: films, steps, ranks, parameters, memory and time.

Nothing is written and no film is opened. Memory and time come from the real model of each stage, which takes
one step on one film of noise: what autograd keeps is counted, and the seconds are those of this computer.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.lowrank.adalora import capacities, set_ranks
from adaloraqat.models.families import SegmentationModel, accepts_boxes
from adaloraqat.models.sam import architecture_of, decode, encode
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.fake_quantize import ActivationQuantizer
from adaloraqat.training.batches import sampler_of
from adaloraqat.training.films import PLANES
from adaloraqat.training.frozen import Part, layout_of, remembers, split_encoder
from adaloraqat.training.kinds.base import Stage
from adaloraqat.training.optimization import make_optimizer, mask_terms, set_training, trainable_groups
from adaloraqat.training.processes import check_division, chosen_device, launched, precision_on
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.run import load_teacher
from adaloraqat.training.run_films import choose_films, leak_between
from adaloraqat.training.train import enter_stage, keep_freed_memory, start_of

_FLOAT = 4  # bytes
_MUCH_MEMORY = 1_000_000_000  # bytes
_SUMS = {"adamw": 2, "sgd": 1}  # numbers that an optimiser keeps for each one that learns


@dataclass(frozen=True)
class StagePlan:
    """One stage as it will be.

    Attributes:
        stage: of the recipe.
        image_size: px.
        steps_per_epoch: optimiser steps; 0 where nothing learns, and there is no epoch.
        matrices: how many carry an adapter.
        budgets: components of all adapters at the start, and after each prune; empty without adapters.
        parameters: of the model, adapters included.
        trainable: how many of them learn.
        notes: what the stage makes of its own settings.
        parts: that a batch goes through in, over processes and accumulation.
        memory: bytes on each device at a step: weights, gradients, the optimiser's sums, what autograd keeps.
        flops: multiplications and additions of one step; frozen layers, where they see each picture once in
            the whole stage, count to none.
        seconds: of the whole stage in one process, validation included, at the speed of one step on this
            computer.
    """

    stage: Stage
    image_size: int
    steps_per_epoch: int
    matrices: int
    budgets: tuple[int, ...]
    parameters: int
    trainable: int
    notes: tuple[str, ...]
    parts: int
    memory: int
    flops: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """A training as it will be.

    Attributes:
        training: how many films.
        validation: how many films.
        missing: how many of both have no image or no mask where the manifest says.
        device: "cpu" or "cuda".
        films: bytes that decoded films take at most, in memory or in the cache.
        stages: in order.
        leak: what `leak_between` says of the films.
    """

    training: int
    validation: int
    missing: int
    device: str
    films: int
    stages: tuple[StagePlan, ...]
    leak: str | None = None

    def lines(self) -> Iterator[str]:
        """Give the plan as text, a line at a time."""
        missing = f"; {self.missing} of them are missing" if self.missing else ""
        yield f"{self.training} training and {self.validation} validation films{missing}"
        if self.leak:
            yield self.leak
        yield f"on {self.device}; decoded films take {_size(self.films)}"
        for plan in self.stages:
            yield from _stage_lines(plan)
        seconds, memory = sum(p.seconds for p in self.stages), max(p.memory for p in self.stages)
        yield (
            f"in all about {_duration(seconds)} on this computer, and {_size(memory)} in addition to the "
            "films"
        )


def plan(recipe: Recipe, manifest: Path) -> Plan:
    """Find out what training `recipe` on the films of `manifest` will take; as `train` reads both.

    Of a stage that prunes, the stages after it are measured with the same rank everywhere.

    Raises:
        AdaloraqatError: what `train` would refuse before it opens a film.
    """
    _, processes = launched()
    check_division(recipe, processes)
    training, validation = choose_films(read_manifest(manifest, files_exist=False), recipe)
    model, structure = start_of(recipe)
    keep_freed_memory()
    device = chosen_device(recipe.device)
    plans, largest = [], 0
    for number, stage in enumerate(recipe.stages):
        model.to("cpu")
        model, structure = enter_stage(stage, model, structure, recipe.seed)
        films = sampler_of(recipe, number, training).pass_length
        stage.check_steps(stage.schedule.steps(films)[1])
        model.to(device)
        plans.append(_planned(recipe, stage, model, films, len(validation), device, processes))
        largest = max(largest, int(structure.architecture["image_size"]))
        if len(plans[-1].budgets) > 1:
            even = plans[-1].budgets[-1] // plans[-1].matrices
            set_ranks(model, dict.fromkeys(capacities(model), even))
    entries = [*training, *validation]
    missing = sum(not (entry.path_image.is_file() and entry.path_mask.is_file()) for entry in entries)
    size = len(entries) * PLANES * largest**2
    leak = leak_between(training, validation)
    return Plan(len(training), len(validation), missing, device.type, size, tuple(plans), leak)


def _planned(
    recipe: Recipe,
    stage: Stage,
    model: SegmentationModel,
    films: int,
    validated: int,
    device: torch.device,
    processes: int,
) -> StagePlan:
    schedule = stage.schedule
    parts = processes * schedule.accumulate
    groups = trainable_groups(model, stage, recipe.prompts.clicks is not None)
    trainable = sum(p.numel() for group in groups for p in group.parameters.values())
    parameters = sum(p.numel() for p in model.parameters())
    budgets = stage.hooks(model, make_optimizer(groups, stage), lambda line: None).budgets
    ranks = capacities(model)
    # measured on a copy: a graph that lives on knows the ranks it was made with
    cost = _Cost.of(copy.deepcopy(model), stage, device)
    steps_per_epoch, steps = schedule.steps(films) if trainable else (0, 0)
    unreached = schedule.unreached(steps) if trainable else []
    weights = parameters + trainable * (1 + _SUMS[schedule.optimizer])
    pictures = min(films * (stage.views or 1), steps * schedule.batch_size) + validated
    seconds = (
        steps * schedule.batch_size * cost.step
        + (1 + (schedule.epochs if trainable else 0)) * validated * cost.validation
        + pictures * cost.once
    )
    memory = weights * _FLOAT + cost.kept + schedule.batch_size // parts * cost.kept_a_film
    if stage.distillation is not None:
        teacher, own = load_teacher(stage.distillation.teacher, stage.distillation.image_size)
        memory += sum(p.numel() for p in teacher.parameters()) * _FLOAT
        image = torch.randn(1, own.channels, own.image_size, own.image_size, device=device)
        once = not (stage.distillation.embedding and stage.augmentation and stage.geometry)  # then remembered
        asked = films if once else steps * schedule.batch_size
        teacher.to(device)
        seconds += asked * _seconds(lambda: encode(teacher, image), device)
    return StagePlan(
        stage=stage,
        image_size=_image_size(model),
        steps_per_epoch=steps_per_epoch,
        matrices=len(ranks),
        budgets=(sum(ranks.values()), *budgets) if ranks else (),
        parameters=parameters,
        trainable=trainable,
        notes=(*stage.notes(model), *_precision_notes(stage, device), *unreached),
        parts=parts,
        memory=memory,
        flops=schedule.batch_size * cost.flops,
        seconds=seconds,
    )


def _precision_notes(stage: Stage, device: torch.device) -> list[str]:
    asked = stage.schedule.precision
    found = precision_on(device, asked)
    return [] if found == asked else [f"computed in {found}, because this CPU only imitates {asked}"]


@dataclass(frozen=True)
class _Cost:
    """What a stage costs.

    `kept` are bytes that autograd keeps whatever the batch, `kept_a_film` those of each film, `flops` the
    operations of one film in a step, `step` its seconds, and `validation` the seconds of one scored film;
    `once` are the seconds that frozen layers take for each picture, where they see it only once.
    """

    kept: int
    kept_a_film: int
    flops: int
    step: float
    validation: float
    once: float

    @classmethod
    def of(cls, model: SegmentationModel, stage: Stage, device: torch.device) -> _Cost:
        count = 1 if accepts_boxes(model) else 2  # batch norms of some networks need two films
        first = _First.of(model, stage)
        few = _noise(model, count, device)
        if any(not m.calibrated for m in model.modules() if isinstance(m, ActivationQuantizer)):
            calibrate(model, [few])
        set_training(model)
        images = few[0]
        once = _seconds(lambda: first(images), device) if first.parts else 0.0
        few = first(images), few[1]
        with FlopCounterMode(display=False) as counter:
            kept, loss = _kept(model, stage, first, few)
            if loss.requires_grad:
                loss.backward()  # a first time, which is slower than the next
        a_film = kept // count
        if kept < _MUCH_MEMORY:  # what no film adds to hardly counts beside so much
            more = _noise(model, 2 * count, device)
            a_film = max(0, _kept(model, stage, first, (first(more[0]), more[1]))[0] - kept) // count

        def step() -> None:
            answer = _loss(model, stage, first, few)
            if answer.requires_grad:
                answer.backward()

        step_seconds = _seconds(step, device)
        model.zero_grad(set_to_none=True)
        model.eval()
        with torch.no_grad():
            validation = _seconds(lambda: _loss(model, stage, first, few), device)
        return cls(
            kept=max(0, kept - count * a_film),
            kept_a_film=a_film,
            flops=counter.get_total_flops() // count,
            step=step_seconds / count,
            validation=validation / count,
            once=once / count,
        )


class _First:
    """The frozen layers that see each picture only once: from images (B, C, S, S) to what others are given.

    Where there are none, images stay as they are.
    """

    def __init__(self, parts: Sequence[Part], rest: Sequence[Part]) -> None:
        self.parts, self._rest = parts, rest

    @classmethod
    def of(cls, model: SegmentationModel, stage: Stage) -> _First:
        return cls(*split_encoder(model)) if remembers(stage, model) else cls((), ())

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        for _, part in self.parts:
            images = part(images)
        return images

    def embed(self, model: SegmentationModel, hidden: Tensor) -> Tensor:
        """Return the embedding of what this made of images."""
        if not self.parts:
            return encode(model, hidden)
        for _, part in self._rest:
            hidden = part(hidden)
        return hidden


Batch = tuple[Tensor, Tensor]
"""Noise in place of normalised films (B, C, S, S), or what `_First` made of it, and boxes (B, 1, 4)."""


def _image_size(model: SegmentationModel) -> int:
    return int(architecture_of(model)["image_size"])


def _noise(model: SegmentationModel, films: int, device: torch.device) -> Batch:
    size, channels = _image_size(model), int(architecture_of(model)["channels"])
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(films, channels, size, size, generator=generator)
    boxes = torch.tensor([0.1, 0.2, 0.9, 0.8]).mul(size).expand(films, 1, 4)
    return images.to(device), boxes.to(device)


def _loss(model: SegmentationModel, stage: Stage, first: _First, batch: Batch) -> Tensor:
    """Compute a step's loss, as the training loop does, with half the square as truth."""
    images, boxes = batch
    half = precision_on(images.device, stage.schedule.precision) == "bfloat16"
    layout = torch.preserve_format if first.parts else layout_of(stage)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
        logits, quality = decode(model, first.embed(model, images.to(memory_format=layout)), boxes)
    size = (_image_size(model),) * 2
    logits = torch.nn.functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
    wanted = torch.zeros_like(logits)
    wanted[..., : size[1] // 2] = 1
    terms = mask_terms(logits, quality, wanted, stage.losses) | stage.loss_terms(model)
    return torch.stack(list(terms.values())).sum()


def _kept(model: SegmentationModel, stage: Stage, first: _First, batch: Batch) -> tuple[int, Tensor]:
    """Return the bytes that autograd keeps for the backward pass, beside the model's own; and the loss."""
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            seen[storage._cdata] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = _loss(model, stage, first, batch)
    return sum(seen.values()), loss


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that calling `work` takes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


# ---- in words ------------------------------------------------------------------------------------------


def _stage_lines(plan: StagePlan) -> Iterator[str]:
    schedule = plan.stage.schedule
    steps = schedule.epochs * plan.steps_per_epoch
    kind = f"{plan.stage.name} ({plan.stage.kind})"
    yield (
        f"{kind}: {schedule.epochs} epochs of {plan.steps_per_epoch} steps, "
        f"{steps} in all, of {schedule.batch_size} films of {plan.image_size} px"
        + (f", in {plan.parts} parts" if plan.parts > 1 else "")
        if plan.trainable
        else f"{kind}: trains nothing, at {plan.image_size} px"
    )
    if plan.budgets:
        budgets = ", then ".join(map(str, plan.budgets))
        yield f"  {plan.matrices} adapted matrices, {budgets} components in all"
    yield f"  {_count(plan.parameters)} parameters, {_count(plan.trainable)} of them trained"
    for note in plan.notes:
        yield f"  {note}"
    yield (
        f"  about {_size(plan.memory)} of memory, {plan.flops / 1e12:.3g} TFLOP per step, "
        f"{_duration(plan.seconds)} on this computer"
    )


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e5 else str(number)


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
