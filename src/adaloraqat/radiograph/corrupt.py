"""Films as a ward sometimes delivers them: rotated, inverted, underexposed, noisy, cropped, badly stored.

Each corruption is fixed: its strength is a constant here, and what is drawn (a sign, a place, noise) comes
from a seed. What moves pixels moves the mask alike. The answer is a picture file's content, because a ward's
film is read from a file: reading it is part of what is tested (an inverted film is righted there).
"""

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.errors import FilmError

Pixels = NDArray[np.float32]
Mask = NDArray[np.bool_]
Change = Callable[[Pixels, Mask, np.random.Generator], tuple[Pixels, Mask]]

CLEAN = "clean"
VERSION = 1
"""Counts up when a corruption changes, so that results of two versions are never mixed."""
CROPPED = (0.05, 0.12)
"""Share of a side that `cropped` cuts off at each edge, from and to."""
COLLIMATED = (0.05, 0.12)
"""Share of a side that `collimated` covers at each edge, from and to."""
SHEET = 1.3
"""Side of the sheet that `foreign_border` puts the film on, relative to the film's."""
PHOTONS = 40
"""Photons a pixel behind the lungs in `low_exposure` (thousands in a good film)."""
NOISE = 0.08
"""Standard deviation of the noise of `noisy`; the film spans 0 to 1."""
BLUR = 0.006
"""Standard deviation of `blurred`, as a share of the longer side: about two millimetres on a chest film."""
JPEG_QUALITY = 30
_DEPTH = 3.0  # natural logarithms of intensity between the darkest and the brightest part of a film
_LUNG = 1 / 6  # about where lungs lie between the two


@dataclass(frozen=True)
class Corruption:
    """One fixed corruption.

    Attributes:
        name: as tables have it.
        description: in words, for a reader of the table.
        change: (pixels (H, W) in [0, 1], mask (H, W), random) -> the same after the corruption.
        jpeg: the JPEG quality of the file; None stores it without loss, as 8-bit PNG.
    """

    name: str
    description: str
    change: Change
    jpeg: int | None = None


@dataclass(frozen=True)
class Corrupted:
    """A corrupted film: the `content` of its picture file, and the `mask` (H, W) on the file's grid."""

    content: bytes
    mask: Mask


def corrupt(name: str, pixels: Pixels, mask: Mask, seed: int) -> Corrupted:
    """Return a film after the corruption `name` of `CORRUPTIONS`.

    Args:
        name: "clean" stores the film as it is, so that all conditions pass through the same file format.
        pixels: (H, W) float32 in [0, 1], bright = dense.
        mask: (H, W) bool.
        seed: the same seed gives the same film.

    Raises:
        FilmError: there is no such corruption; the message lists the names.
    """
    if name not in CORRUPTIONS:
        raise FilmError(f"There is no corruption {name!r}: choose one of {', '.join(CORRUPTIONS)}.")
    corruption = CORRUPTIONS[name]
    changed, moved = corruption.change(pixels, mask, np.random.default_rng(seed))
    image = Image.fromarray((np.clip(changed, 0, 1) * 255 + 0.5).astype(np.uint8))
    content = io.BytesIO()
    if corruption.jpeg is None:
        image.save(content, "PNG", compress_level=1)
    else:
        image.save(content, "JPEG", quality=corruption.jpeg)
    return Corrupted(content.getvalue(), moved)


def _unchanged(pixels: Pixels, mask: Mask, random: np.random.Generator) -> tuple[Pixels, Mask]:
    return pixels, mask


def _rotated(degrees: float) -> Change:
    def change(pixels: Pixels, mask: Mask, random: np.random.Generator) -> tuple[Pixels, Mask]:
        angle = degrees * random.choice((-1, 1))
        turned = Image.fromarray(pixels).rotate(angle, Image.Resampling.BILINEAR, fillcolor=0)
        moved = Image.fromarray(mask).convert("L").rotate(angle, Image.Resampling.NEAREST, fillcolor=0)
        return np.asarray(turned, dtype=np.float32), np.asarray(moved) > 0

    return change


def _inverted(pixels: Pixels, mask: Mask, random: np.random.Generator) -> tuple[Pixels, Mask]:
    return 1 - pixels, mask


def _low_exposure(pixels: Pixels, mask: Mask, random: np.random.Generator) -> tuple[Pixels, Mask]:
    """Count photons and take the log: few come through dense parts, so the noise is worst there (Poisson)."""
    behind = PHOTONS * np.exp(-_DEPTH * (pixels.astype(np.float64) - _LUNG))
    counts = np.maximum(random.poisson(behind), 0.5)
    density = _LUNG - np.log(counts / PHOTONS) / _DEPTH
    return np.asarray(density, dtype=np.float32), mask


def _low_contrast(pixels: Pixels, mask: Mask, random: np.random.Generator) -> tuple[Pixels, Mask]:
    """Mix in scattered light (the film blurred by a tenth of its side) and squeeze the range to a fifth."""
    fogged = 0.35 * pixels + 0.65 * _blur(pixels, 0.1 * max(pixels.shape))
    return (0.55 + 0.2 * fogged).astype(np.float32), mask


def _noisy(pixels: Pixels, mask: Mask, random: np.random.Generator) -> tuple[Pixels, Mask]:
    return pixels + NOISE * random.standard_normal(pixels.shape, dtype=np.float32), mask


def _blurred(pixels: Pixels, mask: Mask, random: np.random.Generator) -> tuple[Pixels, Mask]:
    return _blur(pixels, BLUR * max(pixels.shape)), mask


def _cropped(pixels: Pixels, mask: Mask, random: np.random.Generator) -> tuple[Pixels, Mask]:
    inside = _inside(pixels.shape, CROPPED, random)
    return np.ascontiguousarray(pixels[inside]), np.ascontiguousarray(mask[inside])


def _collimated(pixels: Pixels, mask: Mask, random: np.random.Generator) -> tuple[Pixels, Mask]:
    """Cover the edges by black shutters; what lies under them can no longer be outlined."""
    inside = _inside(pixels.shape, COLLIMATED, random)
    shut, visible = np.zeros_like(pixels), np.zeros_like(mask)
    shut[inside], visible[inside] = pixels[inside], mask[inside]
    return shut, visible


def _foreign_border(pixels: Pixels, mask: Mask, random: np.random.Generator) -> tuple[Pixels, Mask]:
    """Lay the film somewhere on a larger sheet that is black or white, as a scanner does."""
    height, width = pixels.shape
    sheet = (math.ceil(SHEET * height), math.ceil(SHEET * width))
    top = int(random.integers(sheet[0] - height + 1))
    left = int(random.integers(sheet[1] - width + 1))
    place = (slice(top, top + height), slice(left, left + width))
    framed = np.full(sheet, random.choice((0.0, 1.0)), dtype=np.float32)
    moved = np.zeros(sheet, dtype=bool)
    framed[place], moved[place] = pixels, mask
    return framed, moved


def _inside(
    shape: tuple[int, ...], share: tuple[float, float], random: np.random.Generator
) -> tuple[slice, slice]:
    """Return what is left when each edge loses a drawn share of its side."""
    top, bottom, left, right = random.uniform(*share, size=4)
    height, width = shape
    rows = slice(round(top * height), height - round(bottom * height))
    return rows, slice(round(left * width), width - round(right * width))


def _blur(pixels: Pixels, sigma: float) -> Pixels:
    """Blur (H, W) by a Gaussian of `sigma` px; its edge is continued."""
    step = max(1, int(sigma / 8))  # a wide blur is done on a smaller picture
    small = Image.fromarray(pixels).resize(
        (max(1, pixels.shape[1] // step), max(1, pixels.shape[0] // step)), Image.Resampling.BOX
    )
    blurred = _gaussian(np.asarray(small, dtype=np.float32), sigma / step)
    wide = Image.fromarray(blurred).resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(wide, dtype=np.float32)


def _gaussian(pixels: Pixels, sigma: float) -> Pixels:
    radius = math.ceil(3 * sigma)
    places = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (places / max(sigma, 1e-6)) ** 2)
    kernel /= kernel.sum()
    result: NDArray[Any] = np.pad(pixels, radius, mode="edge")
    height, width = pixels.shape
    result = sum(weight * result[i : i + height] for i, weight in enumerate(kernel))
    result = sum(weight * result[:, i : i + width] for i, weight in enumerate(kernel))
    return result.astype(np.float32)


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        corruption.name: corruption
        for corruption in (
            Corruption(CLEAN, "the film as it is", _unchanged),
            Corruption("rotated_5", "rotated by 5° to either side", _rotated(5)),
            Corruption("rotated_10", "rotated by 10° to either side", _rotated(10)),
            Corruption("rotated_15", "rotated by 15° to either side", _rotated(15)),
            Corruption("inverted", "dark and bright exchanged", _inverted),
            Corruption("low_exposure", f"about {PHOTONS} photons per pixel behind the lungs", _low_exposure),
            Corruption("low_contrast", "fogged by scatter, a fifth of the range", _low_contrast),
            Corruption("noisy", f"noise of standard deviation {NOISE:g} of the range", _noisy),
            Corruption("blurred", f"blurred by {BLUR:.1%} of the longer side", _blurred),
            Corruption("cropped", "5 to 12 % of the side cut off at each edge", _cropped),
            Corruption("collimated", "5 to 12 % of the side black at each edge", _collimated),
            Corruption("foreign_border", "on a black or white sheet 1.3 times as large", _foreign_border),
            Corruption("jpeg_30", "stored as JPEG of quality 30", _unchanged, JPEG_QUALITY),
        )
    }
)
"""Every corruption by name, in the order of a table; the first changes nothing."""
