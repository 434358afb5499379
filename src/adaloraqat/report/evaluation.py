"""Score models on films: masks are saved, read back, and compared on the film's original grid.

Every model sees the same films with the same prompts, once without a box and, where it takes one, once with
the box of the truth.
A film on which a model fails, or that is missing, gets the worst score of every measure and is counted;
nothing is left out of a mean. A full disk is nobody's failure: it ends the evaluation.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle import Segmenter
from adaloraqat.datasets.manifest import Entry, fingerprint
from adaloraqat.datasets.names import plain_name
from adaloraqat.errors import AdaloraqatError, OutputError
from adaloraqat.files import check_folder, write_json
from adaloraqat.measure.film_scores import (
    DEFAULT_TOLERANCES,
    LABELS,
    SIDES,
    FilmScores,
    score_film,
    worst_scores,
)
from adaloraqat.measure.statistics.compare import DEFAULT_MARGIN
from adaloraqat.measure.surface import Spacing
from adaloraqat.radiograph import Box, Film, read_film, read_labels, read_mask, write_mask
from adaloraqat.report.comparisons import check_choices, comparisons
from adaloraqat.report.film_rows import NO_BOX, PROMPTS, TRUE_BOX, FilmRow, film_row, write_rows
from adaloraqat.report.predictions import Predictions, mask_name
from adaloraqat.report.summary import LEVEL, summarise
from adaloraqat.report.unread_films import UnreadFilms

__all__ = ["NO_BOX", "TRUE_BOX", "Options", "evaluate", "mask_path"]

Scored = Segmenter | Predictions
"""What can be evaluated: a model that runs, or the masks that another program saved."""

Each = Callable[[Sequence[Entry]], Iterable[Entry]]


@dataclass(frozen=True)
class Options:
    """What an evaluation measures and compares.

    Attributes:
        tolerances: of the NSD, in mm where the spacing is known, else px.
        reference: the model that the others are compared with; None means the first.
        margin: of non-inferiority and equivalence, in Dice, fixed beforehand.
        seed: of the bootstrap.
    """

    tolerances: tuple[float, ...] = DEFAULT_TOLERANCES
    reference: str | None = None
    margin: float = DEFAULT_MARGIN
    seed: int = 0


@dataclass(frozen=True)
class _Case:
    """A film with its truth, read once for all models."""

    entry: Entry
    film: Film = field(repr=False)
    truth: NDArray[np.bool_] = field(repr=False)
    labels: NDArray[np.uint8] | None = field(repr=False)

    @property
    def spacing_mm(self) -> Spacing | None:
        return self.entry.spacing_mm or self.film.spacing_mm

    def prompts(self, boxes: bool) -> dict[str, Box | None]:
        """The prompts by name; there is no true box without a truth, nor for one that takes no `boxes`."""
        true_box = {TRUE_BOX: Box.around(self.truth)} if boxes and self.truth.any() else {}
        return {NO_BOX: None, **true_box}


def evaluate(
    models: Mapping[str, Scored],
    entries: Sequence[Entry],
    out: Path,
    each: Each = lambda entries: entries,
    options: Options = Options(),
) -> dict[str, Any]:
    """Score `models` on `entries`; write masks, `films.csv` and `evaluation.json` to `out`.

    Args:
        models: by the name that stands in the tables.
        entries: films with masks.
        out: folder for the results.
        each: wraps the films to show progress.
        options: tolerances, reference, margin and seed.

    Returns:
        the content of evaluation.json: `films`, the `fingerprint` of their images and masks, the options, and
        `models`: per model, source and prompt the numbers of `summary.numbers`; with two models or more also
        `comparisons`, see `comparisons.comparisons`.

    Raises:
        OutputError: `out` cannot be written; there is no evaluation.json then.
        AdaloraqatError: the options do not fit the models.
    """
    check_choices(list(models), options.reference, options.margin, options.tolerances)
    check_folder(out)
    data = fingerprint(entries, files_exist=False)
    rows: list[FilmRow] = []
    unread = UnreadFilms(entries, options.tolerances)
    for entry in each(entries):
        try:
            case = _read(entry)
        except OutputError:  # no room to unpack it: no fault of the film
            raise
        except AdaloraqatError as error:
            worst = unread.worst(entry, SIDES if entry.path_labels else ())
            rows += _unread_rows(models, entry, str(error), worst)
            continue
        rows += [
            _score(name, segmenter, case, prompt, box, out, options.tolerances)
            for name, segmenter in models.items()
            for prompt, box in case.prompts(segmenter.accepts_boxes).items()
        ]
    summary = _document(list(models), rows, len(entries), data, options)
    write_rows(out / "films.csv", rows)
    write_json(out / "evaluation.json", summary)
    return summary


def mask_path(out: Path, model: str, prompt: str, identity: str) -> Path:
    """Return where `evaluate` saves a model's mask of one film; there is none where the model failed.

    It is always below `out`, whatever the model and the film are called.
    """
    folder = model if Path(model).name == model != ".." else plain_name(model)
    return out / "masks" / folder / prompt / mask_name(identity)


def _document(
    models: Sequence[str], rows: Sequence[FilmRow], films: int, data: str, options: Options
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "films": films,
        "fingerprint": data,
        "tolerances": list(options.tolerances),
        "interval_level": LEVEL,
        "seed": options.seed,
        "models": {
            name: summarise([row for row in rows if row.model == name], options.tolerances, options.seed)
            for name in models
        },
    }
    if len(models) > 1:
        document["comparisons"] = comparisons(
            rows, models, options.tolerances, options.reference, options.margin, options.seed
        )
    return document


def _read(entry: Entry) -> _Case:
    film = read_film(entry.path_image)
    truth = read_mask(entry.path_mask, film.shape)
    labels = read_labels(entry.path_labels, film.shape) if entry.path_labels else None
    return _Case(entry, film, truth, labels)


def _score(
    name: str,
    segmenter: Scored,
    case: _Case,
    prompt: str,
    box: Box | None,
    out: Path,
    tolerances: Sequence[float],
) -> FilmRow:
    """Segment, save, read the saved mask back and score it."""
    entry, spacing = case.entry, case.spacing_mm
    try:
        mask, quality = _mask(segmenter, case, box)
        path = mask_path(out, name, prompt, entry.id)
        write_mask(path, mask)
        saved = read_mask(path, case.film.shape)
        scores = score_film(saved, case.truth, spacing, case.labels, tolerances)
        return film_row(entry, name, prompt, scores, quality, empty=not saved.any())
    except OutputError:  # a full disk says nothing of the model
        raise
    except AdaloraqatError as error:
        reason = str(error)
    except MemoryError:
        reason = "There is not enough memory to segment this film."
    worst = worst_scores(case.film.shape, spacing, tolerances, _sides(case.labels))
    return film_row(entry, name, prompt, worst, error=reason)


def _mask(scored: Scored, case: _Case, box: Box | None) -> tuple[NDArray[np.bool_], float | None]:
    """Return the mask of a film and the quality that the model predicts for it."""
    if isinstance(scored, Predictions):
        return scored.mask(case.entry, case.film.shape), None
    result = scored.segment(case.film, box)
    return result.mask, result.quality


def _sides(labels: NDArray[np.uint8] | None) -> list[str]:
    """Name the lungs that are labelled."""
    return [] if labels is None else [side for side in SIDES if (labels == LABELS[side]).any()]


def _unread_rows(models: Mapping[str, Scored], entry: Entry, error: str, worst: FilmScores) -> list[FilmRow]:
    """Rows of a film that no model could see: failed for every one of them, with every prompt it takes."""
    return [
        film_row(entry, name, prompt, worst, error=error)
        for name, scored in models.items()
        for prompt in (PROMPTS if scored.accepts_boxes else (NO_BOX,))
    ]
