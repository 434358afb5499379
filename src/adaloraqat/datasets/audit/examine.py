"""Look at one film with its mask and labels, and keep what the audit needs of them."""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.audit.film_checks import film_findings
from adaloraqat.datasets.audit.mask_checks import Finding, label_findings, mask_facts, mask_findings
from adaloraqat.datasets.audit.record import FilmRecord, MaskFacts, Problem
from adaloraqat.datasets.audit.thumbnail import thumbnail
from adaloraqat.datasets.entry import FINDING_KINDS, LUNG_KINDS, Entry
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import Film, read_film, read_labels, read_mask


class Task(NamedTuple):
    """One film to look at: the name it has in the audit, and its entry."""

    name: str
    entry: Entry


def examine(task: Task) -> FilmRecord:
    """Return what is to be known of one film; whatever is wrong with its files ends up in `problems`."""
    name, entry = task
    try:
        film = read_film(entry.path_image)
    except FilmError as error:
        return _record(name, None, False, None, [("image-unreadable", str(error))])
    except Exception as error:  # one film must never end an audit of thousands
        return _record(
            name, None, False, None, [("image-unreadable", _unforeseen(entry.path_image.name, error))]
        )
    righted = any("look inverted" in notice for notice in film.notices)
    found = film_findings(film, entry.path_image, entry.view, righted)
    facts, more = _mask(film, entry)
    return _record(name, film, righted, facts, found + more)


def glance(task: Task) -> FilmRecord:
    """Return what the search for copies needs of one film, and no more."""
    name, entry = task
    try:
        film = read_film(entry.path_image)
    except Exception as error:
        message = str(error) if isinstance(error, FilmError) else _unforeseen(entry.path_image.name, error)
        return _record(name, None, False, None, [("image-unreadable", message)])
    return _record(name, film, any("look inverted" in notice for notice in film.notices), None, [])


def crashed(task: Task) -> FilmRecord:
    """Return the record of a film whose decoder took the whole process with it."""
    message = f"{task.entry.path_image.name} or its mask crashes its decoder: export the film again."
    return _record(task.name, None, False, None, [("image-unreadable", message)])


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
                else [("labels-size", "The label file has another size than its film: give one on its grid.")]
            )
        except Exception as error:
            found.append(("labels-unreadable", _said(entry.path_labels.name, error)))
    return facts, found


def _record(
    name: str, film: Film | None, righted: bool, facts: MaskFacts | None, found: list[Finding]
) -> FilmRecord:
    problems = tuple(Problem(name, kind, message) for kind, message in found)
    if film is None:
        return FilmRecord(name, None, None, righted, facts, problems)
    digest = hashlib.sha256(repr(film.shape).encode())
    digest.update(np.ascontiguousarray(film.pixels).data)
    return FilmRecord(name, digest.digest(), thumbnail(film.pixels), righted, facts, problems)


def _said(file: str, error: Exception) -> str:
    return str(error) if isinstance(error, FilmError) else _unforeseen(file, error)


def _unforeseen(file: str, error: Exception) -> str:
    return f"{file} cannot be read ({type(error).__name__}): export it again."
