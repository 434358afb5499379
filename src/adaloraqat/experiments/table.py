"""`adaloraqat report`: a table recipe in, the table and its statistics out; resumable at every row.

A row is made real: trained where it is missing, exported, scored; what is there is reused.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from adaloraqat.bundle import Bundle, Segmenter, load_bundle
from adaloraqat.bundle.timing import median_ratio
from adaloraqat.datasets.manifest import Entry, fingerprint, read_manifest
from adaloraqat.errors import BundleError, ManifestError, RecipeError
from adaloraqat.evaluate.comparisons import comparisons
from adaloraqat.evaluate.evaluation import Options, evaluate
from adaloraqat.evaluate.films import choose_scored
from adaloraqat.evaluate.machine import environment, segmenter_times
from adaloraqat.evaluate.predictions import Predictions
from adaloraqat.evaluate.rows import FilmRow, of_manifest, read_rows
from adaloraqat.evaluate.store import files_and_use, labels_and_spacing
from adaloraqat.evaluate.summary import STATISTICS, grouped, summarise
from adaloraqat.experiments.recipe import Row, TableRecipe
from adaloraqat.export.export_run import export_run
from adaloraqat.files import check_folder, write_json, write_text
from adaloraqat.measure.film_scores import nsd_key
from adaloraqat.progress import Progress, Report, no_progress
from adaloraqat.renamed import renamed_arguments
from adaloraqat.report.table import PROMPT_WORDS, Method, file_name, to_csv, to_latex, to_markdown
from adaloraqat.training import Recipe, load_recipe
from adaloraqat.training.run import finished_stages, is_run, trainable_parameters
from adaloraqat.training.run_films import choose_films
from adaloraqat.training.run_folder import RunFolder
from adaloraqat.training.train import train

SCORES = ("dice", "iou", "nsd", "hd95", "assd", "ssim", "sensitivity", "specificity")
TIMED_TURNS = 15
_COUNTS = ("films", "patients", "failed", "empty", "lost", "lost_patients", "lost_interval", "unit")
_TEST = (
    "mean_difference", "interval", "wilcoxon_p", "holm_p", "effect_size", "noninferior", "equivalent",
    "failed", "failures",
)  # fmt: skip
_STAMP, _SCORES, _MADE_FROM = "scored.json", "films.csv", ".made-from.json"


@renamed_arguments(each="progress")
def make_table(
    table: TableRecipe,
    manifest: Path,
    runs: Path,
    out: Path,
    command: str,
    report: Report,
    progress: Progress = no_progress,
) -> tuple[dict[str, Any], list[Method], list[Entry]]:
    """Make every row, then write table.json, table.csv, table.md and table.tex to `out`.

    Args:
        table: what stands in the table.
        manifest: the films; training, validation and test splits.
        runs: folder of run folders, reused and added to.
        out: folder for the table and the scores.
        command: what a reader types to make the table again.
        report: receives one line of progress at a time.
        progress: shows how many films are done.

    Returns:
        the content of table.json, the methods and the films scored.

    Raises:
        AdaloraqatError: with one sentence for anything that a user can fix.
    """
    entries = choose_scored(manifest, table.split, table.sources)
    check_folder(out)
    for row in table.rows:
        if row.predictions is not None:
            Predictions(row.predictions, entries)  # told now, not after hours of training other rows
    methods = [make_method(row, table, entries, manifest, runs, out, report, progress) for row in table.rows]
    speeds = _speeds(table, methods) if "speed" in table.columns else {}
    document = build_table(table, methods, speeds) | {
        "command": command,
        "data": {"films": len(entries), "fingerprint": fingerprint(entries, files_exist=False)},
        "environment": environment(),
    }
    write_json(out / "table.json", document)
    write_text(out / "table.csv", to_csv(document))
    write_text(out / "table.md", to_markdown(document, command))
    write_text(out / "table.tex", to_latex(document))
    return document, methods, entries


def measures_of(table: TableRecipe) -> list[str]:
    """Return the measures of a table's score columns, NSD once for each tolerance."""
    return [
        measure
        for column in table.columns
        if column in SCORES
        for measure in (map(nsd_key, table.tolerances) if column == "nsd" else (column,))
    ]


def build_table(table: TableRecipe, methods: Sequence[Method], speeds: Mapping[str, float]) -> dict[str, Any]:
    """Return the table as one document; every format is written from it.

    Methods are compared with the reference only where both were scored with the same prompt on the same
    films; a method that takes no box stands in the box-less blocks alone.

    Args:
        table: what was asked for.
        methods: in the order of the rows.
        speeds: by row, how many times as fast as the reference; only rows that were timed.

    Returns:
        `blocks`: one for each source and prompt, each with `rows`: name, `films`, `failed`, `unit`, `cells`
        ({measure: mean, sd, interval}), `difference` of Dice from the reference, `p` (Holm), `effect_size`,
        `noninferior`; `costs`: parameters, trainable, bytes and speed by row; `paper`: published numbers;
        `sentences`: the statistics of Dice in words; `comparisons`: the tests and intervals of differences of
        every measure, as `evaluate` writes them.
    """
    scored = [method for method in methods if method.films]
    rows = [film for method in scored for film in method.films]
    names = [method.name for method in scored]
    compared: dict[str, Any] = {"rows": []}
    if table.reference in names and len(names) > 1:
        compared = comparisons(rows, names, table.tolerances, table.reference, table.margin, table.seed)
    summaries = {method.name: summarise(method.films, table.tolerances, table.seed) for method in scored}
    return {
        "name": table.name,
        "title": table.title,
        "note": table.note,
        "phantoms": table.phantoms,
        "split": table.split,
        "reference": table.reference,
        "margin": table.margin,
        "measures": measures_of(table),
        "columns": list(table.columns),
        "blocks": [
            _block(table, source, prompt, methods, summaries, compared["rows"])
            for source in grouped(rows)
            for prompt in table.prompts
        ],
        "costs": {method.name: _costs(method, speeds) for method in methods},
        "paper": {row.name: dict(row.paper) for row in table.rows if row.paper},
        "notes": {row.name: row.note for row in table.rows if row.note},
        "sentences": [
            f"{row['source']}, {PROMPT_WORDS[row['prompt']]}: {row['sentence']}"
            for row in compared["rows"]
            if row["measure"] == "dice"
        ],
        "comparisons": compared,
    }


def _block(
    table: TableRecipe,
    source: str,
    prompt: str,
    methods: Sequence[Method],
    summaries: Mapping[str, Any],
    compared: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    tests = {
        row["model"]: row
        for row in compared
        if (row["source"], row["prompt"], row["measure"]) == (source, prompt, "dice")
    }
    rows = []
    for method in methods:
        name = method.name
        numbers = summaries.get(name, {}).get(source, {}).get(prompt)
        test = {key: tests[name][key] for key in _TEST} if name in tests else None
        rows.append({"name": name, **_scores(table, numbers), "test": test})
    units = {row["unit"] for row in rows if row["unit"]}
    return {"source": source, "prompt": prompt, "unit": "/".join(sorted(units)), "rows": rows}


def _scores(table: TableRecipe, numbers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return one row's numbers of a block; a row that was not scored there has none."""
    if numbers is None:
        return {**dict.fromkeys(_COUNTS), "cells": {}}
    cells = {
        measure: {statistic: numbers[f"{measure}_{statistic}"] for statistic in STATISTICS}
        for measure in measures_of(table)
    }
    return {**{key: numbers[key] for key in _COUNTS}, "cells": cells}


def _costs(method: Method, speeds: Mapping[str, float]) -> dict[str, Any]:
    bundle = method.bundle
    if bundle is None:
        return dict.fromkeys(("parameters", "trainable", "bytes", "speed", "precision"))
    return {
        "parameters": bundle.parameters.get("total"),
        "trainable": method.trainable,
        "bytes": sum(record.bytes for record in bundle.files.values()),
        "speed": speeds.get(method.name),
        "precision": bundle.precision.policy,
    }


def _speeds(table: TableRecipe, methods: Sequence[Method]) -> dict[str, float]:
    """Time every bundle in turns on one film; return how many times as fast as the reference each is."""
    bundles = {method.name: method.bundle for method in methods if method.bundle is not None}
    if table.reference not in bundles:
        return {}
    segmenters = {name: Segmenter.load(str(bundle.folder)) for name, bundle in bundles.items()}
    times = segmenter_times(segmenters, TIMED_TURNS)
    return {name: median_ratio(times, name, table.reference) for name in times}


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
        AdaloraqatError: with one sentence for anything that a user can fix.
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
        raise RecipeError(f"{row.name}: {run.name} was trained on films that differ from --data; {remedy}.")


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
        **labels_and_spacing(entries, labels=True),
        "tolerances": list(table.tolerances),
        "row": row.name,
    }
    if _read_stamp(folder / _STAMP) != stamp or not (folder / _SCORES).exists():
        report(f"{row.name}: scoring {len(entries)} films")
        write_json(folder / _STAMP, {})  # interrupted, the folder holds masks of two calls
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
