"""From methods with film scores to the cells of a table, with the paired statistics against the reference."""

from collections.abc import Mapping, Sequence
from typing import Any

from adaloraqat.measure.film_scores import nsd_key
from adaloraqat.report.comparisons import comparisons
from adaloraqat.report.film_rows import FilmRow
from adaloraqat.report.summary import STATISTICS, summarise
from adaloraqat.report.tables.formats import PROMPT_WORDS
from adaloraqat.report.tables.recipe import TableRecipe
from adaloraqat.report.tables.rows import Method

_COUNTS = ("films", "patients", "failed", "empty", "lost", "lost_patients", "lost_interval", "unit")
_TESTED = (
    "mean_difference", "interval", "wilcoxon_p", "holm_p", "effect_size", "noninferior", "equivalent",
    "failed", "failures",
)  # fmt: skip
SCORES = ("dice", "iou", "nsd", "hd95", "assd", "ssim", "sensitivity", "specificity")


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
    names = [method.row.name for method in scored]
    compared: dict[str, Any] = {"rows": []}
    if table.reference in names and len(names) > 1:
        compared = comparisons(rows, names, table.tolerances, table.reference, table.margin, table.seed)
    summaries = {method.row.name: summarise(method.films, table.tolerances, table.seed) for method in scored}
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
            for source in _sources(rows)
            for prompt in table.prompts
        ],
        "costs": {method.row.name: _costs(method, speeds) for method in methods},
        "paper": {row.name: dict(row.paper) for row in table.rows if row.paper},
        "notes": {row.name: row.note for row in table.rows if row.note},
        "sentences": [
            f"{row['source']}, {PROMPT_WORDS[row['prompt']]}: {row['sentence']}"
            for row in compared["rows"]
            if row["measure"] == "dice"
        ],
        "comparisons": compared,
    }


def _sources(rows: Sequence[FilmRow]) -> list[str]:
    sources = sorted({row.source for row in rows})
    return [*sources, "all"] if len(sources) > 1 else sources


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
        name = method.row.name
        numbers = summaries.get(name, {}).get(source, {}).get(prompt)
        rows.append({"name": name, **_scores(table, numbers), **_test(tests.get(name))})
    units = {row["unit"] for row in rows if row["unit"]}
    return {"source": source, "prompt": prompt, "unit": "/".join(sorted(units)), "rows": rows}


def _scores(table: TableRecipe, numbers: Mapping[str, Any] | None) -> dict[str, Any]:
    if numbers is None:
        return dict.fromkeys(_COUNTS) | {"cells": {}}
    return {key: numbers[key] for key in _COUNTS} | {
        "cells": {
            measure: {statistic: numbers[f"{measure}_{statistic}"] for statistic in STATISTICS}
            for measure in measures_of(table)
        }
    }


def _test(row: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"test": None if row is None else {key: row[key] for key in _TESTED}}


def _costs(method: Method, speeds: Mapping[str, float]) -> dict[str, Any]:
    bundle = method.bundle
    if bundle is None:
        return {"parameters": None, "trainable": None, "bytes": None, "speed": None, "precision": None}
    return {
        "parameters": bundle.parameters.get("total"),
        "trainable": method.trainable,
        "bytes": sum(record.bytes for record in bundle.files.values()),
        "speed": speeds.get(method.row.name),
        "precision": bundle.precision.policy,
    }
