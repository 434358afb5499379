"""results.csv: the numbers of results.jsonl as a table, one row a film."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adaloraqat.files import atomic_path

RESULTS_CSV = "results.csv"

_PLAIN = ("path", "mask", "width", "height", "slices", "box_source", "quality", "area_px", "area_mm2")
_SPLIT = {
    "box": ("x_min", "y_min", "x_max", "y_max"),
    "spacing_mm": ("spacing_row_mm", "spacing_column_mm"),
}
COLUMNS = (*_PLAIN, *_SPLIT["box"], *_SPLIT["spacing_mm"], "milliseconds", "warnings", "failure", "error")


def write_results_csv(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write the table of results.jsonl's lines, atomically; what a film has not is left empty.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, COLUMNS)
        table.writeheader()
        table.writerows(_row(line) for line in lines)


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    entry = line["entry"]
    row = {key: entry.get(key) for key in (*_PLAIN, "milliseconds", "error")}
    for key, columns in _SPLIT.items():
        values = entry.get(key)
        if values is not None and len(values) == len(columns):  # a volume's spacing has three
            row |= dict(zip(columns, values, strict=True))
    return row | {"warnings": " | ".join(entry["warnings"]), "failure": line["failure"]}
