"""One row of a table made real: trained where it is missing, exported, scored; what is there is reused."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from adaloraqat.bundle import Bundle, Segmenter, load_bundle
from adaloraqat.datasets.manifest import Entry, fingerprint, read_manifest
from adaloraqat.errors import BundleError, ManifestError, RecipeError
from adaloraqat.evaluate.evaluation import Options, evaluate
from adaloraqat.evaluate.predictions import Predictions
from adaloraqat.evaluate.rows import FilmRow, of_manifest, read_rows
from adaloraqat.evaluate.store import files_and_use
from adaloraqat.experiments.recipe import Row, TableRecipe
from adaloraqat.export.export_run import export_run
from adaloraqat.files import write_json
from adaloraqat.progress import Progress, Report
from adaloraqat.report.table import Method, file_name
from adaloraqat.training import Recipe, load_recipe
from adaloraqat.training.run import finished_stages, is_run, trainable_parameters
from adaloraqat.training.run_films import choose_films
from adaloraqat.training.run_folder import RunFolder
from adaloraqat.training.train import train

_STAMP, _SCORES, _MADE_FROM = "scored.json", "films.csv", ".made-from.json"


def make_method(
    row: Row,
    table: TableRecipe,
    entries: Sequence[Entry],
    manifest: Path,
    runs: Path,
    out: Path,
    report: Report,
    progress: Progress,
) -> Method:
    """Train, export and score one row; every finished step is reused, an interrupted training continues.

    Args:
        row: of `table`.
        table: the split, prompts and tolerances.
        entries: the films to score.
        manifest: for training, calibration and validation.
        runs: folder of run folders.
        out: folder of the report.
        report: receives one line of progress at a time.
        progress: shows how many films are done.

    Raises:
        AdaloraqatError: with one sentence for anything that a user can mend.
    """
    if row.model is not None:
        bundle = load_bundle(row.model)
        return Method(row.name, _scored(row, bundle, table, entries, out, report, progress), bundle)
    if row.predictions is not None:
        masks = Predictions(row.predictions, entries)
        return Method(row.name, _scored(row, masks, table, entries, out, report, progress))
    if row.recipe is None:
        return Method(row.name)
    recipe = load_recipe(row.recipe, row.settings)
    run = runs / (row.run or recipe.name)
    stage = row.stage or recipe.stages[-1].name
    if is_run(run):
        _check_same(row, recipe, run, manifest)
    if not (is_run(run) and stage in finished_stages(run)):
        if not row.train:
            report(f"{row.name}: not trained here, its row stays empty")
            return Method(row.name, recipe=row.recipe)
        report(f"{row.name}: training {run.name}")
        train(recipe, manifest, run, resume=is_run(run), report=report)
    bundle = _exported(row, run, stage, manifest, report)
    films = _scored(row, bundle, table, entries, out, report, progress)
    return Method(row.name, films, bundle, trainable_parameters(run).get(stage), run, row.recipe)


def _check_same(row: Row, recipe: Recipe, run: Path, manifest: Path) -> None:
    """Refuse a run that was trained by another recipe or, where the manifest has some, on other films.

    Raises:
        RecipeError: the row would show something else than what it says.
    """
    remedy = "give the row another `run`, or choose another --runs"
    if load_recipe(run / "recipe.yaml") != recipe:
        raise RecipeError(f"{row.name}: {run.name} was trained with another recipe; {remedy}.")
    try:
        training, validation = choose_films(read_manifest(manifest, files_exist=False), recipe)
    except ManifestError:
        return  # films to score alone, such as another hospital's
    if RunFolder(run).identity() != fingerprint([*training, *validation], files_exist=False):
        raise RecipeError(f"{row.name}: {run.name} was trained on other films than --data names; {remedy}.")


def _exported(row: Row, run: Path, stage: str, manifest: Path, report: Report) -> Bundle:
    """Return the row's bundle beside its run; it is written again when the run has changed since."""
    folder = run.with_name(f"{run.name}-{stage}-{row.precision or 'as-trained'}")
    made_from = folder.with_name(f"{folder.name}{_MADE_FROM}")
    weights = hashlib.sha256((run / "recipe.yaml").read_bytes() + (run / "metrics.jsonl").read_bytes())
    stamp = {"run": weights.hexdigest()}
    if _read_stamp(made_from) == stamp:
        with suppress(BundleError):  # half-written or foreign: written again
            return load_bundle(folder)
    report(f"{row.name}: exporting {run.name}")
    bundle = export_run(
        run, folder, precision=row.precision, manifest=manifest, name=run.name, stage=stage, report=report
    )
    write_json(made_from, stamp)
    return bundle


def _scored(
    row: Row,
    scored: Bundle | Predictions,
    table: TableRecipe,
    entries: Sequence[Entry],
    out: Path,
    report: Report,
    progress: Progress,
) -> tuple[FilmRow, ...]:
    """Return the row's film scores; scores of the same bundle or masks on the same films are read back."""
    folder = out / "scores" / file_name(row.name)
    stamp = {
        **_identity(scored),
        "films": fingerprint(entries, files_exist=False),
        "tolerances": list(table.tolerances),
        "row": row.name,
    }
    if _read_stamp(folder / _STAMP) != stamp or not (folder / _SCORES).exists():
        report(f"{row.name}: scoring {len(entries)} films")
        model = scored if isinstance(scored, Predictions) else Segmenter.load(str(scored.folder))
        evaluate({row.name: model}, entries, folder, progress, Options(table.tolerances, seed=table.seed))
        write_json(folder / _STAMP, stamp)
    films = of_manifest(read_rows(folder / _SCORES), entries)
    return tuple(film for film in films if film.prompt in table.prompts)


def _identity(scored: Bundle | Predictions) -> dict[str, Any]:
    """Return all that decides the masks, as JSON has it: the files, and how a bundle uses them."""
    if isinstance(scored, Predictions):
        return {"masks": scored.identity()}
    files, use = files_and_use(scored)
    return {"files": files, "use": hashlib.sha256(json.dumps(use, sort_keys=True).encode()).hexdigest()}


def _read_stamp(path: Path) -> Any:
    """Return what a finished step left behind to be known by; None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
