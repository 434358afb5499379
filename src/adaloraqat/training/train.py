"""Train a recipe on a manifest, from the base to the last stage; resumable at any moment."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaloraqat.bundle.cpu import full_range_doubt
from adaloraqat.datasets.manifest import Entry, read_manifest
from adaloraqat.errors import CheckpointError, ManifestError
from adaloraqat.lowrank import adaptation_warnings, save_peft
from adaloraqat.lowrank.lora import save_lora
from adaloraqat.models.families import SegmentationModel, check
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.checkpoint import load_document, save_tensors
from adaloraqat.training.data_identity import data_identity
from adaloraqat.training.device import chosen_device
from adaloraqat.training.distillation import Distiller
from adaloraqat.training.films import draw_indices
from adaloraqat.training.loop import Report, StageTraining, Steps, no_steps
from adaloraqat.training.prompt_free import check_recipe_fits
from adaloraqat.training.recipe import (
    AdaLoRAStage,
    FullStage,
    LoRAStage,
    QuantizeStage,
    Recipe,
    Stage,
)
from adaloraqat.training.run_films import RunFilms
from adaloraqat.training.run_folder import RunFolder
from adaloraqat.training.stage_order import check_stages
from adaloraqat.training.stages import calibrate_films, embedding_width, enter_stage
from adaloraqat.training.start import load_start
from adaloraqat.training.structure import Structure, build_model, settle_memory
from adaloraqat.training.teacher import Teacher, forget_embeddings, load_teacher, remember_embeddings

logger = logging.getLogger(__name__)

__all__ = ["choose_films", "load_start", "train", "warnings_of"]


def train(
    recipe: Recipe,
    manifest: Path,
    out: Path,
    *,
    resume: bool = False,
    report: Report = logger.info,
    steps: Steps = no_steps,
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
        steps: receives (stage, steps done, steps in all) after each step, for a progress bar.
        cache: folder for decoded films (see `film_cache`); it changes no number. None: they stay in memory.

    Returns:
        the content of result.json; its `films` has `left_out`, {id: reason} of the films that were not used.

    Raises:
        FilmError: of one of the two splits not one film can be used.
        AdaloraqatError: with one sentence for anything else that a user can mend.
    """
    torch.set_flush_denormal(True)  # denormal activations of barely trained layers cost 100 times
    started = time.perf_counter()
    training, validation = choose_films(read_manifest(manifest, files_exist=False), recipe)
    run = RunFolder(out)
    identity = data_identity(training, validation)
    run.check(recipe, identity, resume)
    finished = run.result() if resume else None
    if finished is not None:
        report("This run is finished already.")
        return finished
    position = _position(recipe, run, resume)
    films = RunFilms(training, validation, cache)
    _, usable, _ = films.at(_architecture_in(position.structure, recipe.stages[position.number]))
    check_stages(recipe, position.number, position.structure, usable, entered=position.saved is not None)
    teachers = _Teachers(recipe, films, out)
    _doubt_weight_ranges(recipe)
    run.start(recipe, identity, manifest)
    run.keep_metrics(position.lines)
    if position.saved is not None:
        progress = position.saved[1]["progress"]
        report(f"continuing {recipe.stages[position.number].name} after epoch {progress['epoch']}")
    while position.number < len(recipe.stages):
        position = _run_stage(recipe, position, films, teachers, run, report, steps)
    forget_embeddings(out)
    summary = {
        "name": recipe.name,
        "data_fingerprint": identity["fingerprint"],
        "films": films.summary(),
        "stages": [_without_timing(result) for result in position.results],
        "warnings": [*films.warnings(), *warnings_of(recipe, position.results)],
        "timing": {
            "seconds": time.perf_counter() - started,
            "stages": {result["name"]: result["timing"]["seconds"] for result in position.results},
        },
    }
    for warning in summary["warnings"]:
        logger.warning("%s", warning)
    run.write_result(summary)
    return summary


def _doubt_weight_ranges(recipe: Recipe) -> None:
    """Warn of stages whose bundles this CPU would execute wrongly; training itself is right on any."""
    for stage in recipe.stages:
        known = full_range_doubt(stage.weight_range) if isinstance(stage, QuantizeStage) else None
        if known:
            logger.warning(
                "%s: bundles with weight_range full answer wrongly on this CPU, which %s; set it to portable "
                "unless they will run elsewhere.",
                stage.name,
                known,
            )


@dataclass(frozen=True)
class _Position:
    """Where a run stands: before stage `number`, or inside it where there is a `saved` checkpoint."""

    model: SegmentationModel
    structure: Structure
    number: int = 0
    lines: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    saved: tuple[dict[str, Tensor], dict[str, Any]] | None = None


def _position(recipe: Recipe, run: RunFolder, resume: bool) -> _Position:
    """Return the start of the recipe, or where the last checkpoint stands."""
    saved = run.load_checkpoint() if resume else None
    if saved is None:
        model, structure = load_start(recipe.base, recipe.seed)
        for stage in recipe.stages:
            check(_architecture_in(structure, stage))  # refuses a size that cannot be
        check_recipe_fits(recipe, model)
        return _Position(model, structure)
    tensors, document = saved
    try:
        structure, number = Structure.from_dict(document["structure"]), int(document["stage"])
        model = build_model(structure)
        weights = {n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")}
        model.load_state_dict(weights)
        lines = int(document["progress"]["lines"])
        finished = [stage.name for stage in recipe.stages[:number]]
        results = [load_document(run.stage_path(name))["result"] for name in finished]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            "The checkpoint in the run folder does not fit its recipe; train again with another --out."
        ) from error
    return _Position(model, structure, number, lines, results, saved)


def _run_stage(
    recipe: Recipe,
    position: _Position,
    films: RunFilms,
    teachers: "_Teachers",
    run: RunFolder,
    report: Report,
    steps: Steps,
) -> _Position:
    """Train the stage at `position` to its end and write its model; return the position after it."""
    stage, model, structure = recipe.stages[position.number], position.model, position.structure
    if position.saved is None:
        model, structure = enter_stage(model, structure, stage, recipe.seed)
        settle_memory(model)
    preprocessing, training, validation = films.at(structure.architecture)
    model.to(teachers.device)
    if position.saved is None and isinstance(stage, QuantizeStage):
        calibrate_films(model, training, preprocessing, stage.calibration_films, recipe.seed)
    distiller = teachers.distiller(stage, model, preprocessing, report)
    loop = StageTraining(
        recipe,
        position.number,
        model,
        structure,
        training,
        validation,
        preprocessing,
        run,
        report,
        steps,
        distiller,
    )
    loop.progress.lines = position.lines
    result = loop.train(position.saved)
    loop.model.to("cpu")
    if isinstance(stage, AdaLoRAStage):
        save_peft(loop.model, run.folder / "adapter", recipe.base.weights)
    if isinstance(stage, LoRAStage) and loop.structure.lora is not None:
        save_lora(
            loop.model,
            run.folder / "adapter",
            **loop.structure.lora,
            decoder=stage.train_decoder,
            base=recipe.base.weights,
        )
    save_tensors(
        run.stage_path(stage.name),
        loop.model.state_dict(),
        {"structure": loop.structure.to_dict(), "result": result, "preprocessing": preprocessing.to_dict()},
    )
    return _Position(
        loop.model,
        loop.structure,
        position.number + 1,
        loop.progress.lines,
        [*position.results, result],
    )


class _Teachers:
    """The teachers of a recipe on its device, each loaded once, before anything is written."""

    def __init__(self, recipe: Recipe, films: RunFilms, folder: Path) -> None:
        self._films, self._folder = films, folder
        self.device = chosen_device(recipe.device)
        wanted = {(d.teacher, d.image_size) for stage in recipe.stages if (d := stage.distillation)}
        self._loaded = {choice: load_teacher(*choice) for choice in sorted(wanted, key=str)}
        for model, _ in self._loaded.values():
            model.to(self.device)

    def distiller(
        self, stage: Stage, model: SegmentationModel, preprocessing: Preprocessing, report: Report
    ) -> Distiller | None:
        """Return what teaches `model` in `stage`, None where nothing does."""
        choice = stage.distillation
        if choice is None:
            return None
        network, own = self._loaded[choice.teacher, choice.image_size]
        teacher = Teacher(network, own, self._films.for_teacher(own))
        if stage.augmentation == 0 or not stage.geometry:
            report(f"{stage.name}: the teacher's embeddings are computed once")
            teacher = remember_embeddings(teacher, self._folder)
        return Distiller(choice, teacher, embedding_width(model), preprocessing.image_size)


def _architecture_in(structure: Structure, stage: Stage) -> dict[str, Any]:
    """Return the measures that the model has inside `stage`, which may change the image size."""
    size = stage.image_size if isinstance(stage, FullStage) else None
    return structure.architecture if size is None else {**structure.architecture, "image_size": size}


def choose_films(entries: Sequence[Entry], recipe: Recipe) -> tuple[list[Entry], list[Entry]]:
    """Return the training and validation entries that the recipe uses.

    Raises:
        ManifestError: a wanted source is absent, or a split is empty.
    """
    wanted = recipe.data.sources
    if wanted is not None:
        absent = set(wanted) - {entry.source for entry in entries}
        if absent:
            raise ManifestError(
                f"The manifest has no film of source {', '.join(sorted(absent))}; change data.sources in the "
                "recipe."
            )
        entries = [entry for entry in entries if entry.source in wanted]
    training = sorted((e for e in entries if e.split == "train"), key=lambda entry: entry.id)
    validation = sorted((e for e in entries if e.split == "val"), key=lambda entry: entry.id)
    if not training or not validation:
        raise ManifestError(
            "The manifest needs films with split train and with split val; make them with "
            "`adaloraqat data split MANIFEST --out MANIFEST`."
        )
    limit = recipe.data.limit
    if limit is not None and limit < len(training):
        drawn = draw_indices(len(training), limit, 0, [recipe.data.draw, 77])
        training = [training[index] for index in sorted(drawn)]
    return training, validation


def warnings_of(recipe: Recipe, results: Sequence[dict[str, Any]]) -> list[str]:
    """Return what a person should know about a stage 1 that learned next to nothing."""
    warnings: list[str] = []
    for stage, result in zip(recipe.stages, results, strict=True):
        if isinstance(stage, AdaLoRAStage):
            found = adaptation_warnings(result["relative_update"], result["ranks"], result["budgets"])
            if stage.prune_at and not result["budgets"]:
                found.append(
                    f"The ranks never changed: r_target {stage.r_target} of r_max {stage.r_max} leaves "
                    "nothing to prune in this encoder; lower r_target, or give prune_at: [] for a fixed rank."
                )
            warnings += [f"{stage.name}: {sentence}" for sentence in found]
    return warnings


def _without_timing(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "timing"}
