"""Films with outlines drawn on them; which are shown: by rule the best, the median and the worst."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import AdaloraqatError
from adaloraqat.evaluate.predictions import mask_path
from adaloraqat.evaluate.rows import FilmRow
from adaloraqat.files import atomic_path
from adaloraqat.radiograph import Film, Preprocessing, read_film, read_mask
from adaloraqat.renamed import renamed_names
from adaloraqat.report.style import AFTER, TRUTH, rgb

Mask = NDArray[np.bool_]
_SUPERSAMPLING = 2
_PLACES = ("best", "median", "worst")


@dataclass(frozen=True)
class Contour:
    """A mask (H, W) on the film's grid, drawn as a line of `width` pixels in a "#rrggbb" colour."""

    mask: Mask
    colour: str
    width: float = 2.0


def draw_contours(film: Film, contours: Sequence[Contour], side: int) -> Image.Image:
    """Return a picture of the film, `side` pixels at its longest, with outlines; later ones lie on top."""
    height, width = film.shape
    scale = side * _SUPERSAMPLING / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = Image.fromarray((Preprocessing().stretch(film.pixels) * 255 + 0.5).astype(np.uint8))
    picture = grey.resize(size, Image.Resampling.BICUBIC).convert("RGB")
    for contour in contours:
        line = _line(contour.mask, size, contour.width * _SUPERSAMPLING)
        picture.paste(rgb(contour.colour), (0, 0), line)
    final = (max(1, size[0] // _SUPERSAMPLING), max(1, size[1] // _SUPERSAMPLING))
    return picture.resize(final, Image.Resampling.LANCZOS)


def _line(mask: Mask, size: tuple[int, int], width: float) -> Image.Image:
    """Return an "L" picture of `size`: 255 within half of `width` of the mask's border."""
    from scipy import ndimage

    soft = Image.fromarray(mask.astype(np.float32) * 255).resize(size, Image.Resampling.BILINEAR)
    inside = np.asarray(soft) > 127.5
    distance = np.where(
        inside, ndimage.distance_transform_edt(inside), ndimage.distance_transform_edt(~inside)
    )
    border = inside.any() and not inside.all()
    return Image.fromarray(np.where(border & (distance <= width / 2), 255, 0).astype(np.uint8))


def choose(scores: Mapping[str, float]) -> dict[str, str]:
    """Return the film ids to show, by rule: best, median and worst Dice; equals in the order of their ids.

    With an even number the median is the lower of the middle two. Fewer than three films are shown once each.
    """
    ordered = sorted(scores, key=lambda identity: (scores[identity], identity))
    last = len(ordered) - 1
    chosen: dict[str, str] = {}
    for place, index in zip(_PLACES, (last, last // 2, 0), strict=True):
        if ordered[index] not in chosen.values():
            chosen[place] = ordered[index]
    return chosen


@dataclass(frozen=True)
class ShownModel:
    """A model in the pictures.

    Attributes:
        name: stands above its picture.
        rows: its scores with one prompt; none where it was not scored so.
        folder: of the evaluation that holds its masks.
        colour: of its outline.
    """

    name: str
    rows: Sequence[FilmRow] = field(repr=False)
    folder: Path
    colour: str = AFTER


@dataclass(frozen=True)
class ModelMask:
    """What one model made of a film; `mask` (H, W) is None where it failed."""

    name: str
    dice: float
    mask: Mask | None = field(repr=False)
    colour: str = AFTER


@dataclass(frozen=True)
class ShownFilm:
    """A film chosen by rule.

    Attributes:
        place: "best", "median" or "worst".
        id: of the film.
        film: (H, W).
        truth: (H, W).
        masks: of every model that was scored on it.
    """

    place: str
    id: str
    film: Film = field(repr=False)
    truth: Mask = field(repr=False)
    masks: tuple[ModelMask, ...] = field(repr=False)


@dataclass(frozen=True)
class Look:
    """How films are drawn: px of the longer side, and of the lines of the truth and of a model."""

    side: int = 380
    truth: float = 3
    model: float = 2.4


def rule_model(models: Sequence[ShownModel]) -> str | None:
    """Return the model by whose Dice films are chosen: the last that was scored; None where none was."""
    return next((model.name for model in reversed(models) if model.rows), None)


def shown_films(models: Sequence[ShownModel], entries: Sequence[Entry]) -> list[ShownFilm]:
    """Return the best, median and worst film of `rule_model`, with the mask of every model.

    A film that cannot be read any more is left out.
    """
    rows = {model.name: {row.id: row for row in model.rows} for model in models}
    rule = rule_model(models)
    if rule is None:
        return []
    by_id = {entry.id: entry for entry in entries}
    shown = []
    for place, identity in choose({i: float(row.scores["dice"]) for i, row in rows[rule].items()}).items():
        try:
            film, truth = read_with_truth(by_id[identity])
        except AdaloraqatError:
            continue
        masks = [
            ModelMask(
                model.name, float(row.scores["dice"]), saved_mask(row, model.folder, film), model.colour
            )
            for model in models
            if (row := rows[model.name].get(identity)) is not None
        ]
        shown.append(ShownFilm(place, identity, film, truth, tuple(masks)))
    return shown


def panels(film: ShownFilm, look: Look = Look()) -> list[tuple[str, float | None, Image.Image]]:
    """Draw the film, the truth on it, then truth and mask of each model: name, Dice and picture each."""
    return [
        ("Film", None, draw_contours(film.film, [], look.side)),
        ("Truth", None, outlined(film.film, film.truth, None, look)),
        *((own.name, own.dice, outlined(film.film, film.truth, own, look)) for own in film.masks),
    ]


def outlined(film: Film, truth: Mask, model: ModelMask | None, look: Look = Look()) -> Image.Image:
    """Return the film with the truth's outline and, on top, the model's, where there is one."""
    contours = [Contour(truth, TRUTH, look.truth)]
    if model is not None and model.mask is not None:
        contours.append(Contour(model.mask, model.colour, look.model))
    return draw_contours(film, contours, look.side)


def read_with_truth(entry: Entry) -> tuple[Film, Mask]:
    """Return a film and its true mask (H, W).

    Raises:
        FilmError: one of the two cannot be read.
    """
    film = read_film(entry.path_image)
    return film, read_mask(entry.path_mask, film.shape)


def saved_mask(row: FilmRow, folder: Path, film: Film) -> Mask | None:
    """Return the mask (H, W) that was scored, below an evaluation's `folder`; None where there is none."""
    path = mask_path(folder, row.model, row.prompt, row.id)
    return read_mask(path, film.shape) if path.exists() else None


def write_strip(path: Path, panels: Sequence[tuple[str, str, Image.Image]]) -> None:
    """Write panels side by side as one PNG, each with a heading and a line below it, atomically.

    Args:
        path: a PNG file.
        panels: (heading, line below, picture); the pictures have one height.

    Raises:
        OutputError: the file cannot be written.
    """
    gap, head, foot = 10, 34, 32
    height = max(picture.height for _, _, picture in panels)
    width = sum(picture.width for _, _, picture in panels) + gap * (len(panels) + 1)
    strip = Image.new("RGB", (width, head + height + foot), "white")
    draw = ImageDraw.Draw(strip)
    left = gap
    for heading, below, picture in panels:
        middle = left + picture.width / 2
        strip.paste(picture, (left, head))
        draw.text((middle, head / 2), heading, "#111111", ImageFont.load_default(19), anchor="mm")
        draw.text(
            (middle, head + height + foot / 2), below, "#333333", ImageFont.load_default(16), anchor="mm"
        )
        left += picture.width + gap
    with atomic_path(path) as temporary:
        strip.save(temporary, format="PNG", optimize=True)


if not TYPE_CHECKING:  # type checkers still report unknown names
    __getattr__ = renamed_names(__name__, {"Outline": "Contour", "draw_outlines": "draw_contours"})
