"""Look at one film with its mask and labels, and keep what the audit needs of them: a few kilobytes.

What can be wrong with a film itself: empty, odd, a negative, upside down, another view, not grey. What can be
wrong with its mask: `mask_checks.py`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.bundle.plausibility import FILM_CODES
from adaloraqat.datasets.audit.mask_checks import (
    Finding,
    MaskFacts,
    doubted,
    label_findings,
    mask_facts,
    mask_findings,
)
from adaloraqat.datasets.audit.perceptual_hash import thumbnail
from adaloraqat.datasets.manifest import FINDING_KINDS, LUNG_KINDS, Entry
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import Film, read_film, read_labels, read_mask
from adaloraqat.radiograph.formats import PILLOW_NAMES
from adaloraqat.radiograph.inverted import chest_likeness

NOT_CHEST = 0.2
"""Correlation with a chest film's pattern below which a film is reported; docs/data.md: how well it works."""

_SMALLEST = 64  # px; less shows too little
_COLOURED = 0.08  # mean difference of the colour channels over the range: above is a photograph or a drawing
_LATERAL = ("lateral", "lat", "ll", "rl", "llat", "rlat")
_GREY_MODES = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L")


class Task(NamedTuple):
    """One film to look at: the name it has in the audit, and its entry."""

    name: str
    entry: Entry


@dataclass(frozen=True)
class Problem:
    """What is or looks wrong with one film: a `kind` for programs, a sentence for people."""

    id: str
    kind: str
    message: str


@dataclass(frozen=True, eq=False)
class FilmRecord:
    """One film as the audit remembers it.

    `digest` is the SHA-256 of its size and pixels and `thumbnail` (64, 64) uint8; both are None where the
    film cannot be read. `righted` tells that its content was that of a negative.
    """

    id: str
    digest: bytes | None
    thumbnail: NDArray[np.uint8] | None
    righted: bool
    mask: MaskFacts | None
    problems: tuple[Problem, ...]


def examine(task: Task) -> FilmRecord:
    """Return what is to be known of one film; whatever is wrong with its files ends up in `problems`."""
    return _record(task, _findings)


def glance(task: Task) -> FilmRecord:
    """Return what the search for copies needs of one film, and no more."""
    return _record(task, lambda film, entry, righted: (None, []))


def crashed(task: Task) -> FilmRecord:
    """Return the record of a film whose decoder took the whole process with it."""
    return _unreadable(
        task.name, f"{task.entry.path_image.name} or its mask crashes its decoder: export the film again."
    )


def _record(
    task: Task, look: Callable[[Film, Entry, bool], tuple[MaskFacts | None, list[Finding]]]
) -> FilmRecord:
    name, entry = task
    try:
        film = read_film(entry.path_image)
    except Exception as error:  # one film must never end an audit of thousands
        return _unreadable(name, _said(entry.path_image.name, error))
    righted = any("look inverted" in notice for notice in film.notices)
    facts, found = look(film, entry, righted)
    digest = hashlib.sha256(repr(film.shape).encode())
    digest.update(np.ascontiguousarray(film.pixels).data)
    problems = tuple(Problem(name, kind, message) for kind, message in found)
    return FilmRecord(name, digest.digest(), thumbnail(film.pixels), righted, facts, problems)


def _unreadable(name: str, message: str) -> FilmRecord:
    return FilmRecord(name, None, None, False, None, (Problem(name, "image-unreadable", message),))


def _findings(film: Film, entry: Entry, righted: bool) -> tuple[MaskFacts | None, list[Finding]]:
    found = film_findings(film, entry.path_image, entry.view, righted)
    facts, more = _mask(film, entry)
    return facts, found + more


def _mask(film: Film, entry: Entry) -> tuple[MaskFacts | None, list[Finding]]:
    lungs = entry.outlines is None or entry.outlines in LUNG_KINDS
    mask: NDArray[np.bool_] | None = None
    found: list[Finding] = []
    facts = None
    try:
        mask = read_mask(entry.path_mask)
        found += mask_findings(film.pixels, mask, lungs, entry.outlines in FINDING_KINDS)
        facts = mask_facts(mask) if lungs and mask.any() and mask.shape == film.shape else None
    except Exception as error:
        found.append(("mask-unreadable", _said(entry.path_mask.name, error)))
    if entry.path_labels is not None:
        try:
            labels = read_labels(entry.path_labels)
            found += (
                label_findings(labels, mask, lungs)
                if labels.shape == film.shape
                else [
                    (
                        "labels-size",
                        ("The label file and its film differ in size: give one on the film's own grid."),
                    )
                ]
            )
        except Exception as error:
            found.append(("labels-unreadable", _said(entry.path_labels.name, error)))
    return facts, found


def _said(file: str, error: Exception) -> str:
    if isinstance(error, FilmError):
        return str(error)
    return f"{file} cannot be read ({type(error).__name__}): export it again."


def film_findings(film: Film, path: Path, view: str | None, righted: bool) -> list[Finding]:
    """Return what looks wrong with a film, from its pixels, its file's colours and the view its source names.

    `righted` tells that its content was that of a negative and that it was inverted.
    """
    empty = np.zeros(film.shape, bool)
    found = [(code, sentence) for code, sentence in doubted(film.pixels, empty) if code in FILM_CODES]
    if righted:
        found.append(("inverted", "The film is stored as a negative: lungs bright, body dark."))
    if view is not None and view.lower() in _LATERAL:
        found.append(("lateral", f"The source says that this is a lateral view ({view})."))
    explained = any(code in ("blank-film", "upside-down") for code, _ in found)
    if min(film.shape) >= _SMALLEST and not explained:
        likeness = chest_likeness(film.pixels)
        if likeness < NOT_CHEST:
            found.append(
                (
                    "not-frontal-chest",
                    f"The film does not look like a frontal chest film (correlation {likeness:.2f} with "
                    "the pattern of one): is it a lateral view, another body part, rotated, or not an X-ray?",
                )
            )
    if colourfulness(path) > _COLOURED:
        found.append(
            ("coloured", "The picture is coloured: a photograph, a drawing, or a film with annotations.")
        )
    return found


def colourfulness(path: Path) -> float:
    """Return the mean difference between the greatest and the least channel, 0 to 1; 0 for what is grey."""
    try:
        with Image.open(path, formats=PILLOW_NAMES) as picture:
            if picture.mode in _GREY_MODES:
                return 0.0
            picture.draft("RGB", (_SMALLEST, _SMALLEST))  # JPEG can decode a small one at once
            small = np.asarray(picture.convert("RGB").resize((_SMALLEST, _SMALLEST)), dtype=np.float32)
    except Exception:  # DICOM and npz are no pictures; damaged ones are reported by the reader
        return 0.0
    return float((small.max(axis=2) - small.min(axis=2)).mean() / 255)
