"""The films that a table shows: best, median and worst by rule, with every method's outline and SSIM maps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import AdaloraqatError
from adaloraqat.radiograph import Film, read_film, read_mask
from adaloraqat.report.colours import AFTER, TRUTH
from adaloraqat.report.evaluation import mask_path
from adaloraqat.report.film_rows import FilmRow
from adaloraqat.report.pictures import Outline, choose, draw_outlines
from adaloraqat.report.tables.rows import Method, file_name

Mask = NDArray[np.bool_]
SIDE = 380
"""px of the longer side of a film on the page."""


@dataclass(frozen=True)
class Panel:
    """One picture: the film alone, the truth on it (`dice` is None), or truth and a method's outline."""

    name: str
    dice: float | None
    picture: Image.Image = field(repr=False)


@dataclass(frozen=True)
class ShownFilm:
    """A film chosen by rule.

    Attributes:
        place: "best", "median" or "worst".
        id: of the film.
        film: (H, W).
        truth: (H, W).
        masks: by method, (H, W); methods that failed on it are missing.
        panels: the film, the truth, then each method.
    """

    place: str
    id: str
    film: Film = field(repr=False)
    truth: Mask = field(repr=False)
    masks: dict[str, Mask] = field(repr=False)
    panels: tuple[Panel, ...] = field(repr=False)


def rule_method(methods: Sequence[Method], prompt: str) -> str | None:
    """Return the method by whose Dice films are chosen: the last that was scored; None where none was."""
    scored = [m.row.name for m in methods if any(film.prompt == prompt for film in m.films)]
    return scored[-1] if scored else None


def shown_films(
    methods: Sequence[Method], entries: Sequence[Entry], scores: Path, prompt: str
) -> list[ShownFilm]:
    """Return the best, median and worst film of `rule_method`, with every scored method's mask.

    A film that cannot be read any more is left out.

    Args:
        methods: rows of a table.
        entries: the films scored.
        scores: folder that holds each row's evaluation.
        prompt: "no_box" or "true_box".
    """
    rule = rule_method(methods, prompt)
    by_id = {entry.id: entry for entry in entries}
    rows = {m.row.name: {f.id: f for f in m.films if f.prompt == prompt} for m in methods}
    if rule is None:
        return []
    shown = []
    for place, identity in choose({i: float(f.scores["dice"]) for i, f in rows[rule].items()}).items():
        try:
            film = read_film(by_id[identity].path_image)
            truth = read_mask(by_id[identity].path_mask, film.shape)
        except AdaloraqatError:
            continue
        masks = {}
        panels = [
            Panel("Film", None, draw_outlines(film, [], SIDE)),
            Panel("Truth", None, draw_outlines(film, [Outline(truth, TRUTH, 3)], SIDE)),
        ]
        for name, films in rows.items():
            if identity not in films:
                continue
            mask = saved_mask(films[identity], scores, film)
            if mask is not None:
                masks[name] = mask
            dice = float(films[identity].scores["dice"])
            panels.append(Panel(name, dice, outlined(film, truth, mask)))
        shown.append(ShownFilm(place, identity, film, truth, masks, tuple(panels)))
    return shown


def saved_mask(row: FilmRow, scores: Path, film: Film) -> Mask | None:
    """Return the mask (H, W) that was scored, or None where the model gave none."""
    path = mask_path(scores / file_name(row.model), row.model, row.prompt, row.id)
    return read_mask(path, film.shape) if path.exists() else None


def outlined(film: Film, truth: Mask, mask: Mask | None) -> Image.Image:
    """Return the film with the truth's outline and, on top, the model's."""
    outlines = [Outline(truth, TRUTH, 3)]
    return draw_outlines(film, outlines if mask is None else [*outlines, Outline(mask, AFTER, 2.4)], SIDE)
