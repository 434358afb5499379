"""Masks and overlays as files."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import Film, size_text
from adaloraqat.radiograph.formats import open_picture
from adaloraqat.radiograph.formats.base import on_black
from adaloraqat.radiograph.formats.npz import read_npz_mask
from adaloraqat.radiograph.formats.png import QUICK, write_png
from adaloraqat.radiograph.geometry import Box
from adaloraqat.radiograph.preprocess import Preprocessing

RIGHT_LUNG, LEFT_LUNG, HEART = 1, 2, 3
"""Values in a label picture; the right lung lies at the image's left."""

_MOST_LABELS = 15
_PALETTE = np.array([[0.0, 0.0, 0.0], [0.10, 0.65, 1.00]], dtype=np.float32)  # of nothing, of the mask
_BOX_COLOUR = (255, 200, 0)


def read_mask(path: str | os.PathLike[str], shape: tuple[int, int] | None = None) -> NDArray[np.bool_]:
    """Return (H, W) bool: where a mask is set.

    A picture whose greatest value is at most 15 holds labels: every value but 0 is set. Else it holds grey
    levels (0/255, perhaps blurred by JPEG or resizing): values from half of the greatest on are set, and
    lower ones that fill an area of their own (labels drawn as 85, 170, 255). Values that are no whole numbers
    are set from half of the greatest on. Of a colour, the brightest channel counts; in a coloured palette
    without black, index 0 is the background.

    Args:
        path: a PNG, JPEG, TIFF or BMP file, or an .npz archive with the array `gts`, `mask` or just one.
        shape: (H, W) that the mask must have; None accepts any.

    Raises:
        FilmError: missing, damaged, with NaN, or not of the size `shape`.
    """
    path = Path(path)
    values = _stored(path)
    check_mask_shape(path, values.shape, shape)
    greatest = values.max()
    if not np.isfinite(greatest):  # the maximum of what holds NaN is NaN
        raise FilmError(f"The mask {path.name} holds NaN or infinity: save it as 0 and 255.")
    if values.dtype.kind == "f" and (values % 1 != 0).any():
        return np.asarray(values >= greatest / 2)
    if greatest <= _MOST_LABELS:
        return values > 0
    chosen: NDArray[np.bool_] = values >= greatest // 2
    for level in _lower_levels(values, float(greatest)):
        chosen |= values == level
    return chosen


def read_labels(path: str | os.PathLike[str], shape: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Return (H, W) uint8 labels: 0 none, 1 right lung (at the image's left), 2 left lung, 3 heart.

    Raises:
        FilmError: missing, damaged, not of the size `shape`, or with values that are not labels.
    """
    path = Path(path)
    image = _open(path, "label picture")
    if image.mode not in ("1", "L", "P", "I") and not image.mode.startswith("I;16"):
        raise FilmError(
            f"{path.name} is a colour picture ({image.mode}): labels need one channel with 0 to 3."
        )
    values = np.asarray(image)  # of a palette the indices: they are the labels
    check_mask_shape(path, values.shape, shape)
    if values.max() > HEART or values.min() < 0:
        raise FilmError(
            f"{path.name} holds values above 3: labels are 0 none, 1 right lung, 2 left lung, 3 heart."
        )
    return values.astype(np.uint8)


def write_mask(path: str | os.PathLike[str], mask: NDArray[Any]) -> None:
    """Write (H, W) `mask` as an 8-bit PNG of 0 and 255, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    write_png(path, np.where(mask, 255, 0).astype(np.uint8), QUICK)


def write_overlay(
    path: str | os.PathLike[str], film: Film, mask: NDArray[Any], box: Box | None = None
) -> None:
    """Write a picture for the eye: the film, the mask tinted with its contour, and the box, atomically.

    Args:
        path: a PNG file to write.
        film: the film, stretched between its percentiles 0.5 and 99.5.
        mask: (H, W) on the film's grid.
        box: the box prompt to draw, or None.

    Raises:
        FilmError: the mask is not on the film's grid.
        OutputError: the file cannot be written.
    """
    if mask.shape != film.shape:
        raise FilmError(
            f"The mask has {size_text(mask.shape)} pixels and its film {size_text(film.shape)}: both must "
            "agree."
        )
    line = max(1, round(max(film.shape) / 400))
    image = tinted(Preprocessing().stretch(film.pixels), (mask != 0).astype(np.uint8), _PALETTE, 0.25, line)
    if box is not None:
        draw_box(image, box, _BOX_COLOUR, line)
    write_png(path, image, QUICK)


def tinted(
    pixels: NDArray[np.float32], labels: NDArray[Any], palette: NDArray[np.float32], fill: float, line: int
) -> Image.Image:
    """Return a picture with labels in colours, transparent but for their contours.

    Args:
        pixels: (H, W) or (H, W, 3) in [0, 1].
        labels: (H, W) whole numbers, 0 where nothing is tinted.
        palette: (N, 3) in [0, 1], the colour of each label.
        fill: opacity of the tint within the contour.
        line: width of the contour in px.
    """
    colours = pixels if pixels.ndim == 3 else pixels[..., None]
    opacity = np.where(labels != 0, np.where(contour(labels, line), 1.0, fill), 0.0)[..., None]
    opacity = opacity.astype(np.float32)
    mixed = colours * (1 - opacity) + palette[labels] * opacity  # (H, W, 3)
    return Image.fromarray((mixed * 255 + 0.5).astype(np.uint8))


def draw_box(image: Image.Image, box: Box, colour: tuple[int, ...], line: int) -> None:
    """Draw a box into a picture, its lines inside of it."""
    corners = (box.x_min, box.y_min, max(box.x_min, box.x_max - 1), max(box.y_min, box.y_max - 1))
    ImageDraw.Draw(image).rectangle(corners, outline=colour, width=line)


def _open(path: Path, what: str = "mask") -> Image.Image:
    if not path.is_file():
        raise FilmError(f"The {what} {path.name} does not exist: check the path.")
    return open_picture(path)[0]


def _stored(path: Path) -> NDArray[Any]:
    """Return the (H, W) values of a mask file; of colours the brightest channel."""
    if path.suffix.lower() == ".npz" and path.is_file():
        return read_npz_mask(path)
    return _values(_open(path))


def _values(image: Image.Image) -> NDArray[Any]:
    """Return (H, W) values of a mask picture; of colours and palettes the brightest channel."""
    if image.mode in ("L", "I", "F") or image.mode.startswith("I;16"):
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode == "P" and _background_is_first(image):
        return np.asarray(image)
    values = np.asarray(on_black(image)).max(axis=2)
    if values.min() == values.max() and image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))  # one colour: the mask is what is opaque
        return alpha if alpha.min() < alpha.max() else values
    return values


def _background_is_first(image: Image.Image) -> bool:
    """Return whether a palette means its index 0 as background: no used colour is black, some are no grey."""
    used = np.unique(np.asarray(image))
    palette = np.asarray(image.getpalette("RGB"), dtype=np.int16).reshape(-1, 3)
    colours = palette[used[used < len(palette)]]
    coloured = bool((np.ptp(colours, axis=1) > 0).any())
    return coloured and not bool((colours.max(axis=1) <= _MOST_LABELS).any())


def _lower_levels(values: NDArray[Any], greatest: float) -> list[float]:
    """Return the levels below half that fill a block of 3 x 3 px: labels, not noise nor blurred edges."""
    levels = np.unique(values[(values > greatest / 16) & (values < greatest // 2)])
    if len(levels) > _MOST_LABELS:
        return []  # grey levels of a JPEG or a soft mask
    return [float(level) for level in levels if _fills_block(values == level)]


def _fills_block(mask: NDArray[np.bool_]) -> bool:
    rows = mask[:-2] & mask[1:-1] & mask[2:]
    return bool((rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]).any())


def check_mask_shape(path: Path, found: tuple[int, ...], wanted: tuple[int, int] | None) -> None:
    """Refuse a mask of `found` (H, W) where its film has `wanted` (H, W); None accepts any.

    Raises:
        FilmError: they differ.
    """
    if wanted is not None and tuple(found) != tuple(wanted):
        raise FilmError(
            f"The mask {path.name} has {size_text(found)} pixels and its film {size_text(wanted)}: "
            "give a mask on the film's own grid."
        )


def contour(labels: NDArray[Any], line: int) -> NDArray[np.bool_]:
    """Return the outermost `line` pixels of each label of (H, W) `labels` (or of a mask)."""
    inner = labels != 0
    core = inner
    for step in range(1, line + 1):
        padded = np.pad(labels, step)
        around = (
            np.roll(padded, shift, axis)[step:-step, step:-step] for axis in (0, 1) for shift in (step, -step)
        )
        core = np.logical_and.reduce([core, *(labels == other for other in around)])
    return inner & ~core
