"""Train a recipe on a manifest, from the base to the last stage; resumable at any moment."""

import copy
import ctypes
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.lowrank.adalora import adapters_of
from adaloraqat.lowrank.lora import merge_lora
from adaloraqat.models.families import SegmentationModel, accepts_boxes, check
from adaloraqat.models.sam import architecture_of
from adaloraqat.progress import Report
from adaloraqat.renamed import renamed_arguments
from adaloraqat.training.batches import sampler_of
from adaloraqat.training.distillation import forget_embeddings
from adaloraqat.training.films import FilmSet
from adaloraqat.training.kinds.base import Stage
from adaloraqat.training.loop import OnStep, RunContext, StageTraining
from adaloraqat.training.optimization import set_training, trainable_groups
from adaloraqat.training.processes import (
    Processes,
    check_division,
    differing_precision,
    imitated_precision,
    join,
)
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.run import load_start, load_teacher
from adaloraqat.training.run_films import RunFilms, choose_films, data_identity
from adaloraqat.training.run_folder import (
    RunFolder,
    Saved,
    WatchedRunFolder,
    load_document,
    save_tensors,
    under,
)
from adaloraqat.training.structure import Structure, build_model, settle_memory
from adaloraqat.training.trackers import Trackers

logger = logging.getLogger(__name__)

_GLIBC_KEEPS = {-4: 0, -1: 2**31 - 1, -2: 2**28}
"""M_MMAP_MAX: no block of its own; M_TRIM_THRESHOLD: never trimmed; M_TOP_PAD: grown in large pieces."""


@renamed_arguments(steps="on_step")
def train(
    recipe: Recipe,
    manifest: Path,
    out: Path,
    *,
    resume: bool = False,
    report: Report = logger.info,
    on_step: OnStep = lambda stage, done, total: None,
    cache: Path | None = None,
    log: Sequence[str] = (),
) -> dict[str, Any]:
    """Run every stage of `recipe` on the films of `manifest`.

    Called in each of several processes that a launcher started (`processes`), it trains one model in all of
    them; the main one writes and reports.

    Films that are missing or cannot be read are left out, with a warning at the start and in the result; a
    run is known by all films that it was given, these too, so it is not resumed after they were repaired.

    Args:
        recipe: what to do.
        manifest: CSV whose `split` column has `train` and `val`.
        out: the run folder; it must be new, unless `resume`. Nothing is written to it before the recipe, the
            base and all films have been read.
        resume: continue where the folder's last checkpoint stands. Ends with the same numbers as an
            uninterrupted run on the same CPU and number of threads.
        report: receives one line of progress at a time.
        on_step: receives (stage, steps done, steps in all) after each step, for a progress bar.
        cache: folder for decoded films (see `films`); it changes no number. None: they stay in memory.
        log: names of experiment trackers that are told too (`trackers.TRACKERS`).

    Returns:
        the content of result.json; its `films` has `left_out`, {id: reason} of the films that were not used.

    Raises:
        FilmError: of one of the two splits not one film can be used.
        AdaloraqatError: with one sentence for anything else that a user can fix.
    """
    torch.set_flush_denormal(True)  # denormal activations of barely trained layers cost 100 times
    keep_freed_memory()
    started = time.perf_counter()
    processes = join(recipe.device)
    if not processes.main:
        report, on_step = _unheard, _unheard
    with processes.together():
        trackers = Trackers(log)
        check_division(recipe, processes.count)
        training, validation = choose_films(read_manifest(manifest, files_exist=False), recipe)
        run = RunFolder(out) if processes.main else WatchedRunFolder(out)
        identity = data_identity(training, validation)
        run.check(recipe, identity, resume)
        finished = run.result() if resume else None
        position = None if finished is not None else _position(recipe, run, resume)
    place = None if position is None else (position.number, position.lines)
    processes.check_alike((identity, place))
    if position is None:
        report("This run is already finished.")
        assert finished is not None
        return finished
    films = RunFilms(training, validation, cache)
    structure, stage = position.structure, recipe.stages[position.number]
    size = stage.size_within(structure.architecture["image_size"])
    with processes.together(), processes.main_first() if cache is not None else nullcontext():
        usable, _ = films.at(structure.preprocessing_at(size))
    with processes.together():
        unreached = _check_stages(recipe, position, usable)
        _check_batch_norms(recipe, position, processes)
        teachers = _teachers(recipe, processes.device)
    context = RunContext(recipe, films, run, teachers, processes.device, report, on_step, processes, trackers)
    if processes.main:
        for warning in (*filter(None, [films.leak]), *unreached, *_early_warnings(recipe, processes.device)):
            logger.warning("%s", warning)
    run.start(recipe, identity, manifest)
    if processes.main:
        trackers.start(recipe, out, _steps_done(position), processes.device)
    report(f"read {recipe.base.source}, {len(training)} training and {len(validation)} validation films")
    if processes.count > 1:
        report(f"{processes.count} processes share each batch")
    run.keep_metrics(position.lines)
    if position.saved is not None:
        progress = position.saved[1]["progress"]
        report(f"continuing {recipe.stages[position.number].name} after epoch {progress['epoch']}")
    try:
        while position.number < len(recipe.stages):
            position = _run_stage(context, position)
    finally:
        trackers.finish()
    processes.wait()
    if processes.main:
        forget_embeddings(out)
    summary = {
        "name": recipe.name,
        "data_fingerprint": identity["fingerprint"],
        "films": films.summary(),
        "stages": [{k: v for k, v in result.items() if k != "timing"} for result in position.results],
        "warnings": [*films.warnings(), *warnings_of(recipe, position.results)],
        "timing": {
            "seconds": time.perf_counter() - started,
            "stages": {result["name"]: result["timing"]["seconds"] for result in position.results},
        },
    }
    for sentence in summary["warnings"] if processes.main else ():
        logger.warning("%s", sentence)
    run.write_result(summary)
    return summary


def keep_freed_memory() -> None:
    """Let the C library keep what is freed (glibc; elsewhere nothing happens).

    Each step frees the gigabytes of activations that the next one takes again. By default they go back to
    the system and come again page by page, which took a fifth of a step. No number changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, value in _GLIBC_KEEPS.items():
            mallopt(option, value)


def warnings_of(recipe: Recipe, results: Sequence[dict[str, Any]]) -> list[str]:
    """Return what a person should know about the stages, from their entries of result.json."""
    return [
        f"{stage.name}: {sentence}"
        for stage, result in zip(recipe.stages, results, strict=True)
        for sentence in stage.warnings(result)
    ]


def _unheard(*_: object) -> None:
    """Take the report of a process that is not the main one."""


def _early_warnings(recipe: Recipe, device: torch.device) -> list[str]:
    """Return what a person should know before the first stage begins."""
    found = [f"{stage.name}: {text}" for stage in recipe.stages for text in stage.machine_warnings()]
    return [*found, *filter(None, (differing_precision(recipe), imitated_precision(recipe, device)))]


@dataclass(frozen=True)
class _Position:
    """Where a run stands: before stage `number`, or inside it where there is a `saved` checkpoint."""

    model: SegmentationModel
    structure: Structure
    number: int = 0
    lines: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    saved: Saved | None = None


def _position(recipe: Recipe, run: RunFolder, resume: bool) -> _Position:
    """Return the start of the recipe, or where the last checkpoint stands."""
    saved = run.load_checkpoint() if resume else None
    if saved is None:
        return _Position(*start_of(recipe))
    tensors, document = saved
    try:
        structure, number = Structure(**document["structure"]), int(document["stage"])
        model = build_model(structure)
        model.load_state_dict(under("model", tensors))
        lines = int(document["progress"]["lines"])
        finished = [stage.name for stage in recipe.stages[:number]]
        results = [load_document(run.stage_path(name))["result"] for name in finished]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            "The checkpoint in the run folder does not fit its recipe; train again with another --out."
        ) from error
    return _Position(model, structure, number, lines, results, saved)


def start_of(recipe: Recipe) -> tuple[SegmentationModel, Structure]:
    """Return the model that a recipe begins with, after a look at whether its stages fit it.

    Raises:
        AdaloraqatError: the base cannot be read, or a stage learns nothing or does not fit it.
    """
    for number, stage in enumerate(recipe.stages):
        stage.check_learning(recipe.stages[:number])
    model, structure = load_start(recipe.base, recipe.seed)
    for stage in recipe.stages:
        check(_architecture_within(stage, structure))  # refuses a size that cannot be
    if not accepts_boxes(model):
        recipe.check_prompt_free(model.architecture["family"])
    return model, structure


def _architecture_within(stage: Stage, structure: Structure) -> dict[str, Any]:
    """Return the config that the model has inside `stage`, which may change the image size."""
    size = stage.size_within(structure.architecture["image_size"])
    return {**structure.architecture, "image_size": size}


def _check_stages(recipe: Recipe, position: _Position, films: FilmSet) -> list[str]:
    """Go through the stages that are left, and refuse the first that could not begin or could not prune.

    Returns:
        a sentence for each whose rates never reach their peak.

    Raises:
        RecipeError: says which stage and the remedy.
    """
    structure = position.structure
    adapted, size = structure.ranks is not None, structure.architecture["image_size"]
    unreached = []
    for number, stage in enumerate(recipe.stages[position.number :], start=position.number):
        if number > position.number or position.saved is None:
            stage.check_entry(adapted, size)
        steps = stage.schedule.steps(sampler_of(recipe, number, films.entries).pass_length)[1]
        stage.check_steps(steps)
        unreached += [f"{stage.name}: {sentence}" for sentence in stage.schedule.unreached(steps)]
        adapted, size = adapted or stage.adapts, stage.size_within(size)
    return unreached


def _check_batch_norms(recipe: Recipe, position: _Position, processes: Processes) -> None:
    """Refuse a stage that trains batch norms on parts of a batch: they are defined by the whole one.

    Raises:
        RecipeError: says which stage and the remedy.
    """
    if not any(isinstance(module, _BatchNorm) for module in position.model.modules()):
        return
    model, structure = copy.deepcopy(position.model), position.structure
    for number, stage in enumerate(recipe.stages[position.number :], start=position.number):
        if number > position.number or position.saved is None:
            model, structure = enter_stage(stage, model, structure, recipe.seed)
        trainable_groups(model, stage)
        set_training(model)  # those that do not learn are in evaluation mode then
        learning = any(isinstance(module, _BatchNorm) and module.training for module in model.modules())
        if learning and processes.count * stage.schedule.accumulate > 1:
            raise RecipeError(
                f"Stage {stage.name} trains batch norms, which need each batch whole: train it in one "
                "process with accumulate: 1, or only its decoder or adapters."
            )


def _steps_done(position: _Position) -> int:
    """Return the optimiser steps of the whole run up to `position`."""
    inside = int(position.saved[1]["progress"]["step"]) if position.saved is not None else 0
    return sum(int(result["steps"]) for result in position.results) + inside


def _teachers(recipe: Recipe, device: torch.device) -> dict[tuple[str, int | None], Any]:
    """Load the teachers of a recipe to `device`, each once: before anything is written."""
    wanted = {(d.teacher, d.image_size) for stage in recipe.stages if (d := stage.distillation)}
    loaded = {choice: load_teacher(*choice) for choice in sorted(wanted, key=str)}
    return {choice: (model.to(device), own) for choice, (model, own) in loaded.items()}


def enter_stage(
    stage: Stage, model: SegmentationModel, structure: Structure, seed: int
) -> tuple[SegmentationModel, Structure]:
    """Change the module tree as `stage` needs it; a LoRA of an earlier stage is merged first.

    Raises:
        RecipeError: the stage cannot begin with this model.
    """
    if structure.lora is not None:
        merge_lora(model)
        structure = replace(structure, lora=None)
    stage.check_entry(bool(adapters_of(model)), architecture_of(model)["image_size"])
    model, structure = stage.enter(model, structure, seed)
    settle_memory(model)
    return model, structure


def _run_stage(context: RunContext, position: _Position) -> _Position:
    """Train the stage at `position` to its end and write its model; return the position after it."""
    recipe, run, number = context.recipe, context.folder, position.number
    stage, model, structure = recipe.stages[number], position.model, position.structure
    if position.saved is None:
        model, structure = enter_stage(stage, model, structure, recipe.seed)
        for note in stage.notes(model):
            context.report(f"{stage.name}: {note}")
    preprocessing = structure.preprocessing_at()
    films, _ = context.films.at(preprocessing)
    model.to(context.device)
    if position.saved is None:
        if context.processes.main:  # whose weights all others take before the first step
            stage.begin(model, run.folder)
        if stage.calibrated_on:
            context.report(
                f"{stage.name}: calibrating ranges on {min(stage.calibrated_on, len(films))} films"
            )
        stage.calibrate(model, films, preprocessing, recipe.seed)
    context.trackers.begin_stage(_steps_done(replace(position, saved=None)))
    training = StageTraining(context, number, model, structure, position.lines, position.saved)
    result = training.train()
    model.to("cpu")
    structure = training.structure
    if context.processes.main:
        stage.save(model, run.folder, recipe.base.weights)
        document = {
            "structure": asdict(structure),
            "result": result,
            "preprocessing": preprocessing.to_dict(),
        }
        save_tensors(run.stage_path(stage.name), model.state_dict(), document)
    results = [*position.results, result]
    return _Position(model, structure, number + 1, training.progress.lines, results)
