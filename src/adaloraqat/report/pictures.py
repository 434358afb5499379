"""Films with outlines drawn on them, for the page and for the README."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from adaloraqat.files import atomic_path
from adaloraqat.radiograph import Film, Preprocessing
from adaloraqat.report.colours import rgb

Mask = NDArray[np.bool_]
_SUPERSAMPLING = 2


@dataclass(frozen=True)
class Outline:
    """A mask (H, W) on the film's grid, drawn as a line of `width` pixels in a "#rrggbb" colour."""

    mask: Mask
    colour: str
    width: float = 2.0


def draw_outlines(film: Film, outlines: Sequence[Outline], side: int) -> Image.Image:
    """Return a picture of the film, `side` pixels at its longest, with outlines; later ones lie on top."""
    height, width = film.shape
    scale = side * _SUPERSAMPLING / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = Image.fromarray((Preprocessing().stretch(film.pixels) * 255 + 0.5).astype(np.uint8))
    picture = grey.resize(size, Image.Resampling.BICUBIC).convert("RGB")
    for outline in outlines:
        line = _line(outline.mask, size, outline.width * _SUPERSAMPLING)
        picture.paste(rgb(outline.colour), (0, 0), line)
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
    places = {"worst": 0, "median": (len(ordered) - 1) // 2, "best": len(ordered) - 1}
    chosen = {place: ordered[index] for place, index in places.items()}
    return {
        place: chosen[place]
        for number, place in enumerate(("best", "median", "worst"))
        if chosen[place] not in [chosen[earlier] for earlier in ("best", "median", "worst")[:number]]
    }


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
