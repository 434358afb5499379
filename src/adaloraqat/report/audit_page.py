"""An audit as one self-contained HTML page: what was found, with the films beside it."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adaloraqat.datasets.audit.audit import Audit
from adaloraqat.datasets.audit.duplicates import Duplicate
from adaloraqat.datasets.audit.film_checks import Problem
from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import ManifestError
from adaloraqat.radiograph import Film, read_film, read_mask
from adaloraqat.report.page import jpeg_address, write_report
from adaloraqat.report.pictures import Contour, draw_contours
from adaloraqat.report.style import TRUTH

MOST_PAIRS = 60
"""Pairs shown with pictures; audit.json and audit.csv list all."""

MOST_OF_A_KIND = 12
"""Films shown for each kind of problem."""

_SIDE = 190  # px

Thumbnail = Callable[..., str]
"""(id of a film, whether with its mask) -> a small picture as a data address."""

KINDS = {
    "exact": "the pixels are equal",
    "near": "the same film, stored otherwise (compressed, resized, brightened or cut)",
    "inverted": "one is the negative of the other",
    "mirrored": "left and right are exchanged",
    "turned": "upside down",
}


def write_audit_page(path: Path, result: Audit) -> None:
    """Write audit.html: a summary, sources and their masks, copies, leaks, problems, each with thumbnails.

    Raises:
        OutputError: the page cannot be written.
    """
    entries = dict(result.tasks)

    @cache
    def thumbnail(name: str, with_mask: bool = False) -> str:
        return _address(entries[name], with_mask)

    counts = result.document["counts"]
    content = {
        "counts": counts,
        "findings": result.findings,
        "sources": result.document["sources"],
        "manifests": result.document["manifests"],
        "kinds": KINDS,
        "leaks": result.split_leaks[:MOST_PAIRS],
        "problem_counts": Counter(problem.kind for problem in result.problems).most_common(),
        "total": {
            "duplicates": len(result.duplicates),
            "leaks": len(result.split_leaks),
            "problems": len(result.problems),
            "look_alikes": len(result.look_alikes),
        },
        "most": {"pairs": MOST_PAIRS, "of_a_kind": MOST_OF_A_KIND},
    }
    pictures = {
        "duplicates": [_pair(pair, entries, thumbnail) for pair in result.duplicates[:MOST_PAIRS]],
        "look_alikes": [_pair(pair, entries, thumbnail) for pair in result.look_alikes[:MOST_PAIRS]],
        "problems": _problems(result.problems, thumbnail),
    }
    write_report(path, content, pictures, "audit.html")


def audit_of(path: Path | None) -> str:
    """Return what the audit in an audit.json found, in words; None: that none was given.

    Raises:
        ManifestError: the file is not an audit.json.
    """
    if path is None:
        return "not given; run adaloraqat data audit and give its audit.json with --audit"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        counts = [len(found[key]) for key in ("duplicates", "split_leaks", "problems")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path.name} is not an audit.json from `adaloraqat data audit`.") from error
    return "{} duplicate pairs, {} leaks between splits, {} problems".format(*counts)


def _address(entry: Entry, with_mask: bool) -> str:
    """Return a small picture of a film as a data address; "" where it cannot be read."""
    try:
        film = read_film(entry.path_image)
    except Exception:  # the audit has told why; the page shows an empty frame
        return ""
    contours = []
    if with_mask:
        with suppress(Exception):
            contours = [Contour(_fitting(read_mask(entry.path_mask), film), TRUTH)]
    return jpeg_address(draw_contours(film, contours, _SIDE))


def _fitting(mask: Any, film: Film) -> Any:
    """Return the mask on the film's grid, stretched where its size is another: it is for the eye."""
    if mask.shape == film.shape:
        return mask
    height, width = film.shape
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def _pair(pair: Duplicate, entries: dict[str, Entry], thumbnail: Thumbnail) -> dict[str, Any]:
    return {
        "kind": pair.kind,
        "similarity": pair.similarity,
        "films": [
            {
                "id": name,
                "source": entries[name].source,
                "patient": entries[name].patient_id,
                "split": entries[name].split or "no split",
                "address": thumbnail(name),
            }
            for name in (pair.a, pair.b)
        ],
    }


def _problems(problems: Sequence[Problem], thumbnail: Thumbnail) -> list[dict[str, Any]]:
    """Return each kind of problem with its first films, the most frequent kind first."""
    return [
        {
            "kind": kind,
            "count": count,
            "films": [
                {"id": problem.id, "message": problem.message, "address": thumbnail(problem.id, True)}
                for problem in [problem for problem in problems if problem.kind == kind][:MOST_OF_A_KIND]
            ],
        }
        for kind, count in Counter(problem.kind for problem in problems).most_common()
    ]
