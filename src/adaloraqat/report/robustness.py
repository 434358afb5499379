"""Robustness: the same films under corruptions that a ward sees, and boxes drawn carelessly.

Every condition is fixed by a seed and the film's id, so all models see the same corrupted films and boxes, on
any machine. A film's scores are written as soon as they are known: an interrupted run goes on where it was.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle import Segmenter
from adaloraqat.datasets.manifest import Entry, evenly_spread, fingerprint
from adaloraqat.errors import AdaloraqatError, OutputError
from adaloraqat.files import write_json
from adaloraqat.measure.film_scores import DEFAULT_TOLERANCES, score_film, worst_scores
from adaloraqat.measure.surface import Spacing
from adaloraqat.radiograph import Box, Film, read_film, read_mask
from adaloraqat.radiograph.corrupt import CLEAN, CORRUPTIONS, corrupt
from adaloraqat.report.environment import environment
from adaloraqat.report.film_rows import NO_BOX, TRUE_BOX, FilmRow, film_row, of_manifest
from adaloraqat.report.robustness_store import append_scores, begin, read_scores, setup_of
from adaloraqat.report.robustness_table import jitter_prompt, summarise, write_tables
from adaloraqat.report.unread_films import UnreadFilms

__all__ = ["JITTERS", "JITTER_GRID", "Settings", "jittered", "robustness", "spread"]

JITTERS = (5, 10, 20)
"""How far each side of the true box moves at most, px of a film whose longer side is `JITTER_GRID`."""

JITTER_GRID = 1024
"""SAM's grid: a jitter means the same share of a film of any size."""

Each = Callable[[Sequence[Entry]], Iterable[Entry]]


@dataclass(frozen=True)
class Settings:
    """What is done to the films.

    Attributes:
        conditions: names of `radiograph.corrupt.CORRUPTIONS`; "clean" is always among them.
        jitters: of the true box on the clean film, px at `JITTER_GRID`.
        tolerances: of the NSD, in mm where the spacing is known, else px.
        seed: of everything that is drawn, and of the bootstrap.
    """

    conditions: tuple[str, ...] = tuple(CORRUPTIONS)
    jitters: tuple[int, ...] = JITTERS
    tolerances: tuple[float, ...] = DEFAULT_TOLERANCES
    seed: int = 0

    @property
    def all_conditions(self) -> list[str]:
        """The conditions, the clean films first."""
        return list(dict.fromkeys((CLEAN, *self.conditions)))


def robustness(
    models: Mapping[str, Segmenter],
    entries: Sequence[Entry],
    out: Path,
    each: Each = lambda entries: entries,
    settings: Settings = Settings(),
) -> dict[str, Any]:
    """Score `models` on `entries` in every condition; write `robustness.json`, `.csv` and `.md` to `out`.

    Args:
        models: by the name that stands in the tables.
        entries: films with masks.
        out: folder for the results; what an earlier, interrupted run left there is used.
        each: wraps the films to show progress.
        settings: conditions, jitters and seed.

    Returns:
        the content of robustness.json: what was done, and `rows`, one for a model, condition and prompt, with
        the numbers of `summary.numbers`, `drop` (clean minus corrupted mean Dice on the same films, with the
        same prompt; a jittered box against the true one) and its 95 % interval `drop_interval`.

    Raises:
        OutputError: `out` holds results of something else or cannot be written, or there is no room for a
            temporary film; the same call goes on where it was.
        AdaloraqatError: an unknown condition.
    """
    unread = UnreadFilms(entries, settings.tolerances)
    begin(out, setup_of(models, entries, settings.jitters, settings.tolerances, settings.seed))
    done = read_scores(out)
    for entry in each(entries):
        for condition in settings.all_conditions:
            missing = {n: model for n, model in models.items() if (entry.id, condition, n) not in done}
            for name, rows in _score(missing, entry, condition, settings, unread).items():
                done[entry.id, condition, name] = rows
                append_scores(out, entry.id, condition, name, rows)
    found = {
        (name, condition): of_manifest(
            [row for entry in entries for row in done[entry.id, condition, name]], entries
        )
        for name in models
        for condition in settings.all_conditions
    }
    document = {
        "films": len(entries),
        "sources": sorted({entry.source for entry in entries}),
        "fingerprint": fingerprint(entries, files_exist=False),
        "seed": settings.seed,
        "tolerances": list(settings.tolerances),
        "jitter_grid": JITTER_GRID,
        "conditions": {name: CORRUPTIONS[name].description for name in settings.all_conditions},
        "environment": environment(),
        "rows": summarise(found, settings.tolerances, settings.seed),
    }
    write_json(out / "robustness.json", document)
    write_tables(document, out)
    return document


def spread(entries: Sequence[Entry], count: int) -> list[Entry]:
    """Return at most `count` films, evenly spaced over the list ordered by source and id."""
    ordered = sorted(entries, key=lambda entry: (entry.source, entry.id))
    return evenly_spread(ordered, count)


def jittered(box: Box, shape: tuple[int, int], jitter: float, seed: int) -> Box:
    """Return the box with each side moved by up to `jitter` px of `JITTER_GRID`, inwards or outwards.

    Args:
        box: on a film of `shape` (H, W); the answer is clipped to it and keeps at least one pixel.
        shape: (H, W) of the film.
        jitter: 20 moves a side by up to 20 px of a film whose longer side is 1024.
        seed: the same seed gives the same box.
    """
    height, width = shape
    reach = jitter * max(shape) / JITTER_GRID
    moves = np.random.default_rng(seed).uniform(-reach, reach, 4)
    x_min, y_min, x_max, y_max = np.asarray(box) + moves
    x_min, y_min = min(max(x_min, 0.0), width - 1.0), min(max(y_min, 0.0), height - 1.0)
    return Box(x_min, y_min, min(max(x_max, x_min + 1), width), min(max(y_max, y_min + 1), height))


@dataclass(frozen=True)
class _Case:
    """One film in one condition, and the prompts to try on it."""

    film: Film
    truth: NDArray[np.bool_]
    spacing_mm: Spacing | None
    prompts: Mapping[str, Box | None]


def _score(
    models: Mapping[str, Segmenter], entry: Entry, condition: str, settings: Settings, unread: UnreadFilms
) -> dict[str, list[FilmRow]]:
    """Return the rows of each model on one film in one condition."""
    if not models:
        return {}
    try:
        case = _case(entry, condition, settings)
    except OutputError:  # a full disk says nothing of the film
        raise
    except AdaloraqatError as error:
        worst = unread.worst(entry)
        jitters = [jitter_prompt(jitter) for jitter in settings.jitters if condition == CLEAN]
        return {
            name: [
                film_row(entry, name, prompt, worst, error=str(error))
                for prompt in ([NO_BOX, TRUE_BOX, *jitters] if model.accepts_boxes else [NO_BOX])
            ]
            for name, model in models.items()
        }
    return {
        name: [
            _row(name, model, entry, case, prompt, settings)
            for prompt, box in case.prompts.items()
            if box is None or model.accepts_boxes
        ]
        for name, model in models.items()
    }


def _case(entry: Entry, condition: str, settings: Settings) -> _Case:
    """Corrupt a film, write it as a ward's file, and read it as a user's."""
    film = read_film(entry.path_image)
    mask = read_mask(entry.path_mask, film.shape)
    corrupted = corrupt(condition, film.pixels, mask, _seed(settings.seed, entry.id, condition))
    changed, truth = _read_back(corrupted.content), corrupted.mask
    prompts: dict[str, Box | None] = {NO_BOX: None}
    if truth.any():
        box = Box.around(truth)
        prompts[TRUE_BOX] = box
        for jitter in settings.jitters if condition == CLEAN else ():
            drawn = jittered(box, truth.shape, jitter, _seed(settings.seed, entry.id, "jitter"))
            prompts[jitter_prompt(jitter)] = drawn
    # No corruption resamples, and the ward's file says nothing of it: the film's own spacing holds.
    return _Case(changed, truth, entry.spacing_mm or film.spacing_mm, prompts)


def _read_back(content: bytes) -> Film:
    """Read a ward's file from a temporary folder."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "film")
            path.write_bytes(content)
            return read_film(path)
    except OSError as error:
        raise OutputError(
            f"The folder for temporary files cannot hold a film ({error.strerror}): free some space there, "
            "or set TMPDIR to another folder; the same command then goes on."
        ) from error


def _row(name: str, model: Segmenter, entry: Entry, case: _Case, prompt: str, settings: Settings) -> FilmRow:
    try:
        result = model.segment(case.film, case.prompts[prompt])
        scores = score_film(result.mask, case.truth, case.spacing_mm, None, settings.tolerances)
        return film_row(entry, name, prompt, scores, result.quality, empty=not result.mask.any())
    except OutputError:
        raise
    except AdaloraqatError as error:
        worst = worst_scores(case.film.shape, case.spacing_mm, settings.tolerances)
        return film_row(entry, name, prompt, worst, error=str(error))


def _seed(seed: int, *texts: str) -> int:
    """Return a seed for one film in one condition, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr((seed, *texts)).encode()).digest()[:8], "big")
