"""films.csv: one row for one model on one film with one prompt."""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adaloraqat.datasets.manifest import Entry
from adaloraqat.datasets.names import person
from adaloraqat.errors import OutputError
from adaloraqat.files import write_text
from adaloraqat.measure.film_scores import COUNTS, FilmScores

NO_BOX, TRUE_BOX = "no_box", "true_box"
PROMPTS = (NO_BOX, TRUE_BOX)
_BEFORE = ("id", "source", "patient_id", "model", "prompt")
_AFTER = ("quality", "empty", "failed", "error")


@dataclass(frozen=True)
class FilmRow:
    """One model on one film with one prompt.

    Attributes:
        id: of the film, as in the manifest.
        source: of the film.
        patient_id: `patient_code` of the film; never the manifest's own text.
        model: as named in the evaluation.
        prompt: `NO_BOX` or `TRUE_BOX`.
        scores: what `FilmScores.to_dict` gives; the worst of every measure where the model failed.
        quality: the IoU that the model predicts, None where it does not.
        empty: whether the mask has no pixel.
        error: why there is no mask, None where there is one.
    """

    id: str
    source: str
    patient_id: str
    model: str
    prompt: str
    scores: Mapping[str, Any] = field(repr=False)
    quality: float | None = None
    empty: bool = False
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no mask to score."""
        return self.error is not None

    @property
    def lost(self) -> bool:
        """Whether it failed, or its mask is empty where the truth is not: no score to take a mean of."""
        return self.failed or (self.empty and self.scores["dice"] == 0)


def film_row(
    entry: Entry,
    model: str,
    prompt: str,
    scores: FilmScores,
    quality: float | None = None,
    empty: bool = False,
    error: str | None = None,
) -> FilmRow:
    """Make the row of one film of a manifest."""
    patient = patient_code(entry)
    return FilmRow(entry.id, entry.source, patient, model, prompt, scores.to_dict(), quality, empty, error)


def patient_code(entry: Entry) -> str:
    """Return 16 hexadecimal digits for the patient of a film: the same for all films of one patient.

    Who is one patient is decided as it is for splits: a number counts within its source, a name that a known
    collection gave counts in every source that took films from it.
    """
    return hashlib.sha256(repr(person(entry.source, entry.patient_id)).encode()).hexdigest()[:16]


def of_manifest(rows: Sequence[FilmRow], entries: Sequence[Entry]) -> list[FilmRow]:
    """Return rows read back from disk with source and patient as `entries` have them now.

    Scores depend on neither, so scores that were kept are good though a manifest was corrected since, or
    patients were told apart otherwise when they were written.
    """
    known = {entry.id: entry for entry in entries}
    return [replace(row, source=known[row.id].source, patient_id=patient_code(known[row.id])) for row in rows]


def write_rows(path: Path, rows: Sequence[FilmRow]) -> None:
    """Write films.csv, atomically; what is undefined is an empty cell.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO()
    measures = list(rows[0].scores) if rows else []
    writer = csv.DictWriter(text, [*_BEFORE, *measures, *_AFTER], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        plain = {name: getattr(row, name) for name in (*_BEFORE, *_AFTER)}
        writer.writerow(plain | dict(row.scores))
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[FilmRow]:
    """Read films.csv back.

    Raises:
        OutputError: there is no such file, or it was not written by `write_rows`.
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            return [_row(cells) for cells in csv.DictReader(stream)]
    except (OSError, KeyError, ValueError) as error:
        raise OutputError(
            f"{path.name} is not a table of film scores from `adaloraqat evaluate`: evaluate the models "
            "again."
        ) from error


def _row(cells: Mapping[str, str]) -> FilmRow:
    measures = [name for name in cells if name not in (*_BEFORE, *_AFTER)]
    return FilmRow(
        **{name: cells[name] for name in _BEFORE},
        scores={name: _value(name, cells[name]) for name in measures},
        quality=float(cells["quality"]) if cells["quality"] else None,
        empty=cells["empty"] == "True",
        error=cells["error"] or None,
    )


def _value(name: str, cell: str) -> Any:
    if name == "unit":
        return cell
    if not cell:
        return None
    return int(cell) if name in COUNTS else float(cell)
