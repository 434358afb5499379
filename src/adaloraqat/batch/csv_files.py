"""results.csv and measures.csv: what a batch found, and what it measured, as tables with one row per film."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adaloraqat.batch.film_entry import FilmEntry
from adaloraqat.files import atomic_path
from adaloraqat.measure.clinical import MEASURES

RESULTS_CSV = "results.csv"

_PLAIN = ("path", "mask", "width", "height", "slices", "box_source", "quality", "area_px", "area_mm2")
_SPLIT = {
    "box": ("x_min", "y_min", "x_max", "y_max"),
    "spacing_mm": ("spacing_row_mm", "spacing_column_mm"),
}
COLUMNS = (*_PLAIN, *_SPLIT["box"], *_SPLIT["spacing_mm"], "milliseconds", "warnings", "failure", "error")
MEASURES_CSV = "measures.csv"
_AREAS = ("area_px", "area_mm2", "area_cm2")
_LUNGS = ("right_lung", "left_lung")
_MEASURED = (*(key for key in MEASURES if key not in _LUNGS), "sides_from", "sides_certain")
MEASURES_COLUMNS = (
    "path",
    *_MEASURED,
    *(f"{lung}_{area}" for lung in _LUNGS for area in _AREAS),
    "quality",
    "quality_error",
    "warnings",
    "error",
)


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet program takes for a formula, and runs."""


def write_results_csv(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write results.csv of results.jsonl's lines, atomically; what a film has not is left empty.

    Raises:
        OutputError: it cannot be written.
    """
    _write(path, COLUMNS, map(_results_row, lines))


def _results_row(line: Mapping[str, Any]) -> dict[str, Any]:
    entry = FilmEntry.from_dict(line["entry"])
    row = {key: getattr(entry, key) for key in (*_PLAIN, "milliseconds", "error")}
    for key, columns in _SPLIT.items():
        values = getattr(entry, key)
        if values is not None and len(values) == len(columns):  # a volume's spacing has three
            row |= dict(zip(columns, values, strict=True))
    return row | {"warnings": " | ".join(entry.warnings), "failure": line["failure"]}


def write_measures_csv(path: Path, entries: Iterable[FilmEntry]) -> None:
    """Write measures.csv, what was measured on each film's structures, atomically; what could not is empty.

    Raises:
        OutputError: it cannot be written.
    """
    _write(path, MEASURES_COLUMNS, map(_measures_row, entries))


def _write(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with (
        atomic_path(path) as temporary,  # names of files may be any bytes
        open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        table = csv.DictWriter(stream, columns)
        table.writeheader()
        table.writerows({column: _cell(value) for column, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    """Return what a cell holds; a text, which may begin with a file's name, is never a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _measures_row(entry: FilmEntry) -> dict[str, Any]:
    found = entry.measures or {}
    row = {name: found.get(name) for name in _MEASURED}
    for lung in _LUNGS:
        row |= {f"{lung}_{area}": (found.get(lung) or {}).get(area) for area in _AREAS}
    told = {"quality": entry.quality, "quality_error": entry.quality_error, "error": entry.error}
    return {"path": entry.path, **row, **told, "warnings": " | ".join(entry.warnings)}
