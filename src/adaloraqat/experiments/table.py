"""`adaloraqat report`: a table recipe in, the table and its statistics out; resumable at every row."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.timing import median_ratio
from adaloraqat.datasets.manifest import Entry, fingerprint
from adaloraqat.evaluate.comparisons import comparisons
from adaloraqat.evaluate.films import choose_scored
from adaloraqat.evaluate.machine import environment, segmenter_times
from adaloraqat.evaluate.predictions import Predictions
from adaloraqat.evaluate.summary import STATISTICS, grouped, summarise
from adaloraqat.experiments.recipe import TableRecipe
from adaloraqat.experiments.rows import make_method
from adaloraqat.files import check_folder, write_json, write_text
from adaloraqat.measure.film_scores import nsd_key
from adaloraqat.progress import Progress, Report, no_progress
from adaloraqat.renamed import renamed_arguments
from adaloraqat.report.table import PROMPT_WORDS, Method, to_csv, to_latex, to_markdown

SCORES = ("dice", "iou", "nsd", "hd95", "assd", "ssim", "sensitivity", "specificity")
TIMED_TURNS = 15
_COUNTS = ("films", "patients", "failed", "empty", "lost", "lost_patients", "lost_interval", "unit")
_TEST = (
    "mean_difference", "interval", "wilcoxon_p", "holm_p", "effect_size", "noninferior", "equivalent",
    "failed", "failures",
)  # fmt: skip


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
        AdaloraqatError: with one sentence for anything that a user can mend.
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
