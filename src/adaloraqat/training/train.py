"""Train a recipe on a manifest, from the base to the last stage; resumable at any moment."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaloraqat.bundle.shipped import shipped_base
from adaloraqat.datasets.manifest import Entry, fingerprint, read_manifest
from adaloraqat.errors import CheckpointError, ManifestError
from adaloraqat.lowrank import adaptation_warnings, save_peft
from adaloraqat.models.checkpoints import load_base
from adaloraqat.models.families import SegmentationModel, build, check
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import architecture_of
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.checkpoint import load_tensors, save_tensors
from adaloraqat.training.films import FilmSet, draw_indices, load_films
from adaloraqat.training.loop import Report, StageTraining, Steps, no_steps
from adaloraqat.training.recipe import AdaLoRAStage, BaseModelChoice, FullStage, QuantizeStage, Recipe, Stage
from adaloraqat.training.run import is_run, load_float_run
from adaloraqat.training.run_folder import RunFolder
from adaloraqat.training.stages import calibrate_films, enter_stage
from adaloraqat.training.structure import Structure, build_model, preprocessing_for, settle_memory

logger = logging.getLogger(__name__)

SHIPPED_BASE = "base"
"""`base.weights: base` in a recipe means the base that ships in the package."""


def train(
    recipe: Recipe,
    manifest: Path,
    out: Path,
    *,
    resume: bool = False,
    report: Report = logger.info,
    steps: Steps = no_steps,
) -> dict[str, Any]:
    """Run every stage of `recipe` on the films of `manifest`.

    Args:
        recipe: what to do.
        manifest: CSV whose `split` column has `train` and `val`.
        out: the run folder; it must be new, unless `resume`. Nothing is written to it before the recipe, the
            base and all films have been read.
        resume: continue where the folder's last checkpoint stands. Ends with the same numbers as an
            uninterrupted run on the same CPU and number of threads.
        report: receives one line of progress at a time.
        steps: receives (stage, steps done, steps in all) after each step, for a progress bar.

    Returns:
        the content of result.json.

    Raises:
        AdaloraqatError: with one sentence for anything that a user can mend.
    """
    torch.set_flush_denormal(True)  # denormal activations of barely trained layers cost 100 times
    started = time.perf_counter()
    training, validation = choose_films(read_manifest(manifest), recipe)
    run = RunFolder(out)
    identity = fingerprint([*training, *validation])
    run.check(recipe, identity, resume)
    finished = run.result() if resume else None
    if finished is not None:
        report("This run is finished already.")
        return finished
    position = _position(recipe, run, resume)
    films = _Films(training, validation)
    if position.number < len(recipe.stages):
        films.at(_architecture_in(position.structure, recipe.stages[position.number]))
    run.start(recipe, identity, manifest)
    run.keep_metrics(position.lines)
    if position.saved is not None:
        progress = position.saved[1]["progress"]
        report(f"continuing {recipe.stages[position.number].name} after epoch {progress['epoch']}")
    while position.number < len(recipe.stages):
        position = _run_stage(recipe, position, films, run, report, steps)
    summary = {
        "name": recipe.name,
        "data_fingerprint": identity,
        "films": {"train": len(training), "val": len(validation)},
        "stages": [_without_timing(result) for result in position.results],
        "warnings": warnings_of(recipe, position.results),
        "timing": {
            "seconds": time.perf_counter() - started,
            "stages": {result["name"]: result["timing"]["seconds"] for result in position.results},
        },
    }
    for warning in summary["warnings"]:
        logger.warning("%s", warning)
    run.write_result(summary)
    return summary


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
        return _Position(model, structure)
    tensors, document = saved
    try:
        structure, number = Structure.from_dict(document["structure"]), int(document["stage"])
        model = build_model(structure)
        weights = {n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")}
        model.load_state_dict(weights)
        lines = int(document["progress"]["lines"])
        finished = [stage.name for stage in recipe.stages[:number]]
        results = [load_tensors(run.stage_path(name))[1]["result"] for name in finished]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            "The checkpoint in the run folder does not fit its recipe; train again with another --out."
        ) from error
    return _Position(model, structure, number, lines, results, saved)


def _run_stage(
    recipe: Recipe, position: _Position, films: "_Films", run: RunFolder, report: Report, steps: Steps
) -> _Position:
    """Train the stage at `position` to its end and write its model; return the position after it."""
    stage, model, structure = recipe.stages[position.number], position.model, position.structure
    if position.saved is None:
        model, structure = enter_stage(model, structure, stage, recipe.seed)
        settle_memory(model)
    preprocessing, training, validation = films.at(structure.architecture)
    if position.saved is None and isinstance(stage, QuantizeStage):
        calibrate_films(model, training, preprocessing, stage.calibration_films, recipe.seed)
    loop = StageTraining(
        recipe, position.number, model, structure, training, validation, preprocessing, run, report, steps
    )
    loop.progress.lines = position.lines
    result = loop.train(position.saved)
    if isinstance(stage, AdaLoRAStage):
        save_peft(loop.model, run.folder / "adapter", recipe.base.weights)
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


class _Films:
    """The two splits, decoded once per image size."""

    def __init__(self, training: Sequence[Entry], validation: Sequence[Entry]) -> None:
        self._entries = (training, validation)
        self._loaded: dict[Preprocessing, tuple[FilmSet, FilmSet]] = {}

    def at(self, measures: dict[str, Any]) -> tuple[Preprocessing, FilmSet, FilmSet]:
        """Return the preprocessing of an architecture, and training and validation films so preprocessed."""
        preprocessing = preprocessing_for(measures)
        if preprocessing not in self._loaded:
            training, validation = (load_films(entries, preprocessing) for entries in self._entries)
            self._loaded = {preprocessing: (training, validation)}  # an earlier stage's size is done with
        return preprocessing, *self._loaded[preprocessing]


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


def load_start(base: BaseModelChoice, seed: int) -> tuple[SegmentationModel, Structure]:
    """Return the model that training starts from; random weights are seeded, the global seed stays.

    `weights` may also name a run: its last float stage is the start, adapters and all, so that several second
    stages can follow one first stage.
    """
    if base.weights is not None and is_run(Path(base.weights)):
        run = load_float_run(Path(base.weights))
        return run.model, run.structure
    model = _load_weights(base.weights, base.image_size) if base.weights is not None else _random(base, seed)
    return model, Structure(architecture_of(model))


def _random(base: BaseModelChoice, seed: int) -> SegmentationModel:
    given = base.architecture
    measures = architecture(given).to_dict() if isinstance(given, str) else dict(given or {})
    if base.image_size is not None:
        measures["image_size"] = base.image_size
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(measures)


def _load_weights(weights: str, image_size: int | None) -> SegmentationModel:
    """Load a path, or the base that ships under the name "base"; a folder of that name goes first."""
    shipped = weights == SHIPPED_BASE and not Path(weights).exists()
    return load_base(shipped_base() if shipped else weights, image_size)


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
