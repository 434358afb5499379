import csv
from pathlib import Path

import pytest

from adaloraqat.batch.csv_files import write_measures_csv, write_results_csv
from adaloraqat.batch.film_entry import FilmEntry


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def tables(folder: Path, entry: FilmEntry) -> list[dict[str, str]]:
    """Return a film's row of both tables."""
    write_results_csv(folder / "r.csv", [{"entry": entry.to_dict(), "failure": None}])
    write_measures_csv(folder / "m.csv", [entry])
    return [*rows(folder / "r.csv"), *rows(folder / "m.csv")]


def test_a_name_of_any_bytes_has_its_row(tmp_path: Path) -> None:
    for row in tables(tmp_path, FilmEntry("bad\udcff.png", error="bad\udcff.png is empty.")):
        assert row["path"] == "bad\\udcff.png"
        assert row["error"] == "bad\\udcff.png is empty."


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_a_name_is_no_formula_and_a_number_stays_one(tmp_path: Path, begin: str) -> None:
    name = f"{begin}HYPERLINK(0).png"
    measures = {"cardiothoracic_ratio": -0.5}
    entry = FilmEntry(name, quality=-0.5, error=f"{name} is empty.", measures=measures)
    for row in tables(tmp_path, entry):
        assert row["path"] == f"'{name}"
        assert row["error"] == f"'{name} is empty."
        assert row["quality"] == "-0.5"
    assert row["cardiothoracic_ratio"] == "-0.5"
