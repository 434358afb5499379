"""The films that an export calibrates and validates on; large weights without a run get fewer, one by one."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from adaloraqat.datasets.manifest import Entry, evenly_spread
from adaloraqat.errors import FilmError
from adaloraqat.progress import Report
from adaloraqat.radiograph import Film, Preprocessing, read_film, read_mask
from adaloraqat.training.batches import calibration_batches
from adaloraqat.training.run_films import UsableFilms

PARITY_FILMS = 32
CALIBRATION_FILMS = 32
Pair = tuple[Entry, Film, np.ndarray[Any, np.dtype[np.bool_]]]
"""A film of a manifest, read, and its mask (H, W)."""

_LARGE = 512
"""Side in px from which films are calibrated one by one, and fewer validate: a ViT-B takes 13 s for each."""

_LARGE_FILMS = 8
_SEED = 0


def calibration_films(
    training: Sequence[Entry], preprocessing: Preprocessing, usable: UsableFilms, report: Report
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images (B, C, S, S) and boxes (B, N, 4) of training films to measure activation ranges on.

    Raises:
        FilmError: not one film can be read.
    """
    films = usable.load(evenly_spread(training, CALIBRATION_FILMS), preprocessing)
    report(f"calibrating activation ranges on {len(films)} films")
    done = 0
    for images, boxes in calibration_batches(films, preprocessing, len(films), _SEED):
        step = 1 if preprocessing.image_size >= _LARGE else len(images)
        for start in range(0, len(images), step):
            yield images[start : start + step], boxes[start : start + step]
        done += len(images)
        report(f"calibrated on {done} of {len(films)} films")


def validation_films(
    validation: Sequence[Entry], preprocessing: Preprocessing, usable: UsableFilms
) -> list[Pair]:
    """Return the films, and their masks, that choose the prompt and measure parity.

    Raises:
        FilmError: there are entries, and not one can be read.
    """
    count = _LARGE_FILMS if preprocessing.image_size >= _LARGE else PARITY_FILMS
    return read_pairs(evenly_spread(validation, count), usable)


def read_pairs(entries: Sequence[Entry], usable: UsableFilms) -> list[Pair]:
    """Return the films that can be read, and their masks, on their own grid.

    Raises:
        FilmError: there are entries, and not one can be read.
    """
    pairs, unusable = [], {}
    for entry in entries:
        try:
            film = read_film(entry.path_image)
            pairs.append((entry, film, read_mask(entry.path_mask, film.shape)))
        except FilmError as error:
            unusable[entry.id] = str(error)
    usable.without(entries, unusable)
    return pairs
