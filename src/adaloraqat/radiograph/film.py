"""The film: one X-ray as a value, whatever file it came from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.errors import FilmError

MIN_SIDE = 16
"""Films with a shorter side (px) hold nothing to segment."""

MAX_PIXELS = 100_000_000
"""Films with more pixels are refused before they are decoded; flat-panel detectors give under 20 million."""


_FILM_WIDTH_MM = (100.0, 600.0)
"""An adult's chest film is 250 to 500 mm wide, an infant's at least 100."""


@dataclass(frozen=True)
class Told:
    """What a film's header says of its content; None or False where it says nothing.

    `view` is "frontal", "lateral" or "oblique"; `body_part` a word for a part that is not the chest;
    `on_its_side`: the rows run from head to feet or back; `right_edge`: which direction of the patient the
    image's right edge shows: "L" or "R", on other films than upright frontal ones "A", "P", "H" or "F".
    """

    view: str | None = None
    body_part: str | None = None
    on_its_side: bool = False
    right_edge: str | None = None


@dataclass(frozen=True, eq=False)
class Film:
    """One chest X-ray.

    Attributes:
        pixels: (H, W) float32 in [0, 1]; bright = dense (MONOCHROME2 sense): lungs dark, spine bright.
        spacing_mm: distance of pixel centres (row, column) in mm, None where unknown.
        patient: first 16 hexadecimal digits of the SHA-256 of the patient's number, None where unknown.
        notices: what the reader had to decide, one sentence each, free of patient data.
        aspect: row over column spacing: how much higher than wide a pixel is; can be known without mm.
        told: what the header says of the content.
    """

    pixels: NDArray[np.float32]
    spacing_mm: tuple[float, float] | None = None
    patient: str | None = None
    notices: tuple[str, ...] = ()
    aspect: float = 1.0
    told: Told = field(default_factory=Told)

    @property
    def shape(self) -> tuple[int, int]:
        """Return (H, W) of the original grid."""
        height, width = self.pixels.shape
        return height, width

    @classmethod
    def from_array(cls, array: NDArray[Any], name: str = "The array") -> "Film":
        """Make a film of (H, W) grey or (H, W, 3|4) colour values of any real type, bright = dense.

        `name` begins the sentence of an error.

        Raises:
            FilmError: not an image, too small, too large, or with values that are not finite.
        """
        array = np.asarray(array)
        if array.dtype.kind not in "buif":
            raise FilmError(f"{name} holds {array.dtype} values: give real numbers.")
        colour = array.ndim == 3 and array.shape[2] in (3, 4)
        if array.ndim != 2 and not colour:
            raise FilmError(
                f"{name} has the shape {array.shape}: give one film, (height, width) or (height, width, 3)."
            )
        check_size(name, *array.shape[:2])
        return cls(scaled(grey(array) if colour else array, name))


def possible_spacing(
    spacing_mm: tuple[float, float] | None, shape: tuple[int, int]
) -> tuple[float, float] | None:
    """Return (row, column) spacing in mm if a film of (H, W) pixels can have it, else None.

    A chest film is 100 to 600 mm wide, and its pixels are at most four times as long as wide; a spacing in cm
    or m gives a film that nobody has.
    """
    if spacing_mm is None:
        return None
    row, column = spacing_mm
    low, high = _FILM_WIDTH_MM
    possible = row > 0 and column > 0 and low <= column * shape[1] <= high
    return spacing_mm if possible and 0.25 <= row / column <= 4 else None


def size_text(shape: Sequence[int]) -> str:
    """Return (H, W) for a sentence: width x height."""
    return " x ".join(str(side) for side in reversed(shape))


def check_size(name: str, height: int, width: int) -> None:
    """Refuse a film by its size, before its pixels are decoded.

    Raises:
        FilmError: a side below `MIN_SIDE` or more than `MAX_PIXELS` pixels.
    """
    if min(height, width) < MIN_SIDE:
        raise FilmError(
            f"{name} has {width} x {height} pixels: a film needs at least {MIN_SIDE} on each side."
        )
    check_most(name, height, width)


def check_most(name: str, height: int, width: int) -> None:
    """Refuse a picture of more than `MAX_PIXELS` pixels, before they are decoded.

    Raises:
        FilmError: more than `MAX_PIXELS` pixels.
    """
    if height * width > MAX_PIXELS:
        raise FilmError(
            f"{name} has {width} x {height} pixels: reduce it to at most {MAX_PIXELS // 10**6} megapixels."
        )


def grey(colour: NDArray[Any]) -> NDArray[Any]:
    """Return (H, W) luma (ITU-R BT.601) of (H, W, 3|4) colour, in the input's units; alpha is ignored.

    8-bit colour gives 8-bit grey, so that `scaled` knows its range; all else gives float32.
    """
    luma = colour[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.rint(luma).astype(np.uint8) if colour.dtype == np.uint8 else luma


def scaled(values: NDArray[Any], name: str, keep: bool = True) -> NDArray[np.float32]:
    """Return (H, W) float32 in [0, 1]: 8-bit values over 255, all others from their least to their greatest.

    Detectors store 10 to 16 bits in 16, so the type's own range says nothing. A constant film gives zeros.
    `keep`: fractions that are in [0, 1] already stay as they are.

    Raises:
        FilmError: a value is NaN or infinite.
    """
    if values.dtype == np.uint8:
        return values.astype(np.float32) / np.float32(255)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise FilmError(
            f"{name} holds values that are not finite numbers (NaN or infinity): export the film again."
        )
    if keep and values.dtype.kind == "f" and low >= 0 and high <= 1:
        return values.astype(np.float32)  # already in [0, 1]: keep the caller's scale
    if high <= low:
        return np.zeros(values.shape, np.float32)
    if not np.isfinite(high - low):
        raise FilmError(f"{name} holds values that are too far apart: export the film again.")
    pixels: NDArray[Any] = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
    return ((pixels - low) / (high - low)).astype(np.float32, copy=False)


def turned_over(values: NDArray[Any]) -> NDArray[Any]:
    """Return (H, W) values, the greatest of which is black, inverted within the range `scaled` gives them."""
    if values.dtype == np.uint8:
        return 255 - values
    if values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        return 1 - values
    wide = values.astype(np.int32) if values.dtype.kind == "i" else values  # signed differences could wrap
    return wide.max() - wide
