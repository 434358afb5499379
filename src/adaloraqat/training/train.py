"""Train a recipe on a manifest, from the base to the last stage; resumable at any moment."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import SamModel

from adaloraqat.bundle import shipped_base
from adaloraqat.datasets.manifest import Entry, fingerprint, read_manifest
from adaloraqat.errors import ManifestError
from adaloraqat.lowrank import adaptation_warnings, save_peft
from adaloraqat.models.checkpoints import load_base
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import architecture_of, build_sam
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.checkpoint import load_tensors, save_tensors
from adaloraqat.training.films import FilmSet, draw_indices, load_films
from adaloraqat.training.loop import Report, StageTraining
from adaloraqat.training.recipe import AdaLoRAStage, BaseModelChoice, QuantizeStage, Recipe
from adaloraqat.training.run_folder import RunFolder
from adaloraqat.training.stages import calibrate_films, enter_stage
from adaloraqat.training.structure import Structure, build_model, preprocessing_for

logger = logging.getLogger(__name__)

SHIPPED_BASE = "base"


def train(
    recipe: Recipe, manifest: Path, out: Path, *, resume: bool = False, report: Report = logger.info
) -> dict[str, Any]:
    """Run every stage of `recipe` on the films of `manifest`.

    Args:
        recipe: what to do.
        manifest: CSV whose `split` column has `train` and `val`.
        out: the run folder; it must be new, unless `resume`.
        resume: continue where the folder's last checkpoint stands. Ends with the same numbers as an
            uninterrupted run on the same CPU and number of threads.
        report: receives one line of progress at a time.

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
    run.start(recipe, identity, resume)
    saved = run.load_checkpoint() if resume else None
    if saved is None:
        run.keep_metrics(0)
        model = load_start(recipe.base, recipe.seed)
        structure, first, results = Structure(architecture_of(model)), 0, []
    else:
        document = saved[1]
        structure, first = Structure.from_dict(document["structure"]), document["stage"]
        run.keep_metrics(document["progress"]["lines"])
        results = [load_tensors(run.stage_path(stage.name))[1]["result"] for stage in recipe.stages[:first]]
        model = build_model(structure)
        model.load_state_dict(
            {n.removeprefix("model/"): t for n, t in saved[0].items() if n.startswith("model/")}
        )
        report(f"continuing {recipe.stages[first].name} after epoch {document['progress']['epoch']}")
    films: dict[int, tuple[Preprocessing, FilmSet, FilmSet]] = {}
    lines = 0 if saved is None else saved[1]["progress"]["lines"]
    for number in range(first, len(recipe.stages)):
        stage = recipe.stages[number]
        continued = saved if number == first else None
        if continued is None:
            model, structure = enter_stage(model, structure, stage, recipe.seed)
        size = int(structure.architecture["image_size"])
        if size not in films:
            preprocessing = preprocessing_for(structure.architecture)
            films[size] = (
                preprocessing,
                load_films(training, preprocessing),
                load_films(validation, preprocessing),
            )
        preprocessing, train_films, validation_films = films[size]
        if continued is None and isinstance(stage, QuantizeStage):
            calibrate_films(model, train_films, preprocessing, stage.calibration_films, recipe.seed)
        loop = StageTraining(
            recipe, number, model, structure, train_films, validation_films, preprocessing, run, report
        )
        loop.progress.lines = lines
        result = loop.train(continued)
        model, structure, lines = loop.model, loop.structure, loop.progress.lines
        if isinstance(stage, AdaLoRAStage):
            save_peft(model, out / "adapter")
        results.append(result)
        save_tensors(
            run.stage_path(stage.name),
            model.state_dict(),
            {"structure": structure.to_dict(), "result": result, "preprocessing": preprocessing.to_dict()},
        )
    summary = {
        "name": recipe.name,
        "data_fingerprint": identity,
        "films": {"train": len(training), "val": len(validation)},
        "stages": results,
        "warnings": warnings_of(recipe, results),
    }
    for warning in summary["warnings"]:
        logger.warning(warning)
    document = _without_timing(summary) | {
        "timing": {
            "seconds": time.perf_counter() - started,
            "stages": {entry["name"]: entry["timing"]["seconds"] for entry in results},
        }
    }
    run.write_result(document)
    return document


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
                f"The manifest has no film of source {', '.join(sorted(absent))}; change data.sources in the recipe."
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


def load_start(base: BaseModelChoice, seed: int) -> SamModel:
    """Return the model that training starts from; random weights are seeded and leave the global seed alone."""
    if base.weights is not None:
        return _load_weights(base.weights, base.image_size)
    named = isinstance(base.architecture, str)
    measures = architecture(base.architecture).to_dict() if named else dict(base.architecture or {})
    if base.image_size is not None:
        measures["image_size"] = base.image_size
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_sam(measures)


def _load_weights(weights: str, image_size: int | None) -> SamModel:
    """Load a path, or the base that ships under the name "base"; a folder of that name goes first."""
    shipped = weights == SHIPPED_BASE and not Path(weights).exists()
    return load_base(shipped_base() if shipped else weights, image_size)


def warnings_of(recipe: Recipe, results: Sequence[dict[str, Any]]) -> list[str]:
    """Return what a person should know about a stage 1 that learned next to nothing."""
    warnings: list[str] = []
    for stage, result in zip(recipe.stages, results, strict=True):
        if isinstance(stage, AdaLoRAStage):
            found = adaptation_warnings(result["relative_update"], result["ranks"], result["budgets"])
            warnings += [f"{stage.name}: {sentence}" for sentence in found]
    return warnings


def _without_timing(summary: dict[str, Any]) -> dict[str, Any]:
    stages = [{k: v for k, v in stage.items() if k != "timing"} for stage in summary["stages"]]
    return {**summary, "stages": stages}
