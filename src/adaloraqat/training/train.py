"""Train a recipe on a manifest, from the base to the last stage; resumable at any moment."""

import ctypes
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

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
from adaloraqat.training.loop import Saved, StageTraining, under
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.run import load_start, load_teacher
from adaloraqat.training.run_context import OnStep, RunContext
from adaloraqat.training.run_films import RunFilms, choose_films, data_identity
from adaloraqat.training.run_folder import RunFolder, load_document, save_tensors
from adaloraqat.training.structure import Structure, build_model, settle_memory

logger = logging.getLogger(__name__)

_GLIBC_KEEPS = {-4: 0, -1: 2**31 - 1, -2: 2**28}
"""M_MMAP_MAX: no block of its own; M_TRIM_THRESHOLD: never trimmed; M_TOP_PAD: grown in large pieces."""

__all__ = ["choose_films", "load_start", "train", "warnings_of"]


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
) -> dict[str, Any]:
    """Run every stage of `recipe` on the films of `manifest`.

    Films that are missing or cannot be read are left out, with a warning at the start and in the result; a
    run is known by all films that it was given, these too, so that it is not resumed after they were mended.

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

    Returns:
        the content of result.json; its `films` has `left_out`, {id: reason} of the films that were not used.

    Raises:
        FilmError: of one of the two splits not one film can be used.
        AdaloraqatError: with one sentence for anything else that a user can mend.
    """
    torch.set_flush_denormal(True)  # denormal activations of barely trained layers cost 100 times
    keep_freed_memory()
    started = time.perf_counter()
    training, validation = choose_films(read_manifest(manifest, files_exist=False), recipe)
    run = RunFolder(out)
    identity = data_identity(training, validation)
    run.check(recipe, identity, resume)
    finished = run.result() if resume else None
    if finished is not None:
        report("This run is already finished.")
        return finished
    position = _position(recipe, run, resume)
    films = RunFilms(training, validation, cache)
    structure, stage = position.structure, recipe.stages[position.number]
    usable, _ = films.at(structure.preprocessing_at(stage.size_within(structure.architecture["image_size"])))
    _check_stages(recipe, position, usable)
    device = chosen_device(recipe.device)
    context = RunContext(recipe, films, run, _teachers(recipe, device), device, report, on_step)
    for stage in recipe.stages:
        for warning in stage.machine_warnings():
            logger.warning("%s: %s", stage.name, warning)
    run.start(recipe, identity, manifest)
    report(f"read {recipe.base.source}, {len(training)} training and {len(validation)} validation films")
    run.keep_metrics(position.lines)
    if position.saved is not None:
        progress = position.saved[1]["progress"]
        report(f"continuing {recipe.stages[position.number].name} after epoch {progress['epoch']}")
    while position.number < len(recipe.stages):
        position = _run_stage(context, position)
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
    for sentence in summary["warnings"]:
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


def chosen_device(choice: Literal["cpu", "cuda", "auto"]) -> torch.device:
    """Return the device of a recipe; `auto` is the first GPU, or the CPU where there is none.

    Films, batches, checkpoints and finished models stay on the CPU's side.

    Raises:
        RecipeError: a GPU is asked for and there is none that torch can use.
    """
    if choice == "cpu" or (choice == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RecipeError(
            "The recipe asks for device: cuda but torch finds no GPU here; use device: auto or cpu, or "
            "install the CUDA build of torch."
        )
    return torch.device("cuda")


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
        AdaloraqatError: the base cannot be read, or a stage does not fit it.
    """
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


def _check_stages(recipe: Recipe, position: _Position, films: FilmSet) -> None:
    """Go through the stages that are left, and refuse the first that could not begin or could not prune.

    Raises:
        RecipeError: says which stage and the remedy.
    """
    structure = position.structure
    adapted, size = structure.ranks is not None, structure.architecture["image_size"]
    for number, stage in enumerate(recipe.stages[position.number :], start=position.number):
        if number > position.number or position.saved is None:
            stage.check_entry(adapted, size)
        stage.check_steps(stage.schedule.steps(sampler_of(recipe, number, films.entries).pass_length)[1])
        adapted, size = adapted or stage.adapts, stage.size_within(size)


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
        if stage.calibrated_on:
            context.report(
                f"{stage.name}: calibrating ranges on {min(stage.calibrated_on, len(films))} films"
            )
        stage.calibrate(model, films, preprocessing, recipe.seed)
    training = StageTraining(context, number, model, structure, position.lines, position.saved)
    result = training.train()
    model.to("cpu")
    structure = training.structure
    stage.save(model, run.folder, recipe.base.weights)
    document = {"structure": asdict(structure), "result": result, "preprocessing": preprocessing.to_dict()}
    save_tensors(run.stage_path(stage.name), model.state_dict(), document)
    results = [*position.results, result]
    return _Position(model, structure, number + 1, training.progress.lines, results)
