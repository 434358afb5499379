"""measures.csv: what was measured on the structures of each film, one row a film."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from adaloraqat.batch.film_entry import FilmEntry
from adaloraqat.files import atomic_path

MEASURES_CSV = "measures.csv"
_AREAS = ("area_px", "area_mm2", "area_cm2")
_LUNGS = ("right_lung", "left_lung")
_PLAIN = ("cardiothoracic_ratio", "lung_ratio", "heart_area_px", "sides_from", "sides_certain")
COLUMNS = (
    "path",
    *_PLAIN,
    *(f"{lung}_{area}" for lung in _LUNGS for area in _AREAS),
    "quality",
    "quality_error",
    "warnings",
    "error",
)


def write_measures_csv(path: Path, entries: Iterable[FilmEntry]) -> None:
    """Write the table atomically; what could not be measured is left empty.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, COLUMNS)
        table.writeheader()
        table.writerows(_row(entry) for entry in entries)


def _row(entry: FilmEntry) -> dict[str, Any]:
    found = entry.measures or {}
    row = {name: found.get(name) for name in _PLAIN}
    for lung in _LUNGS:
        row |= {f"{lung}_{area}": found.get(lung, {}).get(area) for area in _AREAS}
    told = {"quality": entry.quality, "quality_error": entry.quality_error, "error": entry.error}
    return {"path": entry.path, **row, **told, "warnings": " | ".join(entry.warnings)}
