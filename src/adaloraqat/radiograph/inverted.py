"""Find from the content whether a film is inverted (lungs bright, body dark), or lies upside down.

Tags lie (a MONOCHROME1 tag over pixels that are not inverted is common), and pictures have no tag. What the
film lies on does not count: a sheet, a light box, a screenshot, the shadow of a collimator.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.radiograph.film import Film

_LEAST_SIDE = 64  # smaller pictures show too little to overrule what their file says
_LEAST_LIKENESS = 0.25  # in doubt a film stays as its file has it
_UNIFORM = 0.1  # of the range in the picture's middle; noise and JPEG leave a border's row within it
_MOST_BORDER = 0.35  # of a side, taken off at one edge
_LEAST_DIFFERENCE = 0.1  # between upside down and upright: films that end above the diaphragm come close to 0

# The left half of the symmetric 8 x 8 pattern that best tells a chest film from its negative: by ridge
# regression on 791 films (training split of JSRT, Shenzhen and V7), as they are, bordered, tilted, cropped,
# noisy or exposed otherwise 1, negatives of all these -1, turned by 90 to 270 degrees or cut to a quarter 0.
_HALF = np.array(
    [
        [-1.3, -1.2, -1.3, 1.1],
        [-0.3, -0.2, -1.5, 0.4],
        [1.2, 0.3, -1.5, 0.7],
        [0.0, -0.4, -1.6, 1.4],
        [-0.8, -0.6, -0.9, 1.1],
        [-1.3, 0.0, 0.2, 1.4],
        [-0.8, 0.3, 0.9, 1.7],
        [0.2, 0.1, 1.4, 1.2],
    ]
)
_CHEST = np.concatenate([_HALF, _HALF[:, ::-1]], axis=1)


def chest_likeness(pixels: NDArray[Any]) -> float:
    """Return the correlation, -1 to 1, of (H, W) `pixels` with a pattern of chest films; negative: inverted.

    A uniform border does not count.
    """
    return _correlation(_thumbnail(pixels), _CHEST)


def looks_inverted(pixels: NDArray[Any]) -> bool:
    """Return whether (H, W) `pixels`, in any unit, show the negative of an upright chest film.

    In doubt they do not: too small, too little alike, or more like a film lying on a side or upside down.
    """
    if min(pixels.shape) < _LEAST_SIDE:
        return False
    upright, *turned = _turned_likeness(pixels)
    return -upright > max(_LEAST_LIKENESS, *turned)


def looks_upside_down(pixels: NDArray[Any]) -> bool:
    """Return whether (H, W) `pixels`, in any unit, show a chest film turned by 180 degrees, mirrored or not.

    In doubt they do not: too little alike, a negative, or more like a film that lies on a side.
    """
    upright, left, turned, right = _turned_likeness(pixels)
    return turned > max(_LEAST_LIKENESS, upright + _LEAST_DIFFERENCE, left, right)


def looks_on_its_side(pixels: NDArray[Any]) -> bool:
    """Return whether (H, W) `pixels`, in any unit, show a chest film turned by 90 or 270 degrees.

    In doubt they do not: too little alike, a negative, or nearly as much like another turn.
    """
    upright, left, turned, right = _turned_likeness(pixels)
    return max(left, right) > max(_LEAST_LIKENESS, upright + _LEAST_DIFFERENCE, turned + _LEAST_DIFFERENCE)


def righted(film: Film) -> Film:
    """Return the film with bright = dense: inverted, with a notice, if its content says so."""
    if not looks_inverted(film.pixels):
        return film
    notice = "The grey values look inverted (lungs brighter than the body), so they were inverted."
    return replace(film, pixels=film.pixels.max() - film.pixels, notices=(*film.notices, notice))


def inside_border(pixels: NDArray[Any]) -> tuple[slice, slice]:
    """Return the rows and columns of (H, W) `pixels` that are left without a uniform border.

    From each edge inward, rows and columns are taken off as long as they are nearly constant, whatever their
    level: the middle 80 % of their values (a marker may lie there) span little of what the picture's middle
    spans. A film that fills its picture stays whole, or loses what is as uniform: air, burnt-out parts.
    """
    height, width = pixels.shape
    middle = pixels[height // 4 : height - height // 4, width // 4 : width - width // 4]
    low, high = np.percentile(middle, (0.5, 99.5))
    limit = _UNIFORM * float(high - low)
    rows = _varied(pixels, limit)
    columns = _varied(pixels[rows].T, limit)
    return _varied(pixels[:, columns], limit), columns  # columns of another level hid what rows end in


def _turned_likeness(pixels: NDArray[Any]) -> list[float]:
    """Return what `chest_likeness` gives for the pattern as it is, turned by 90, 180 and 270 degrees."""
    thumbnail = _thumbnail(pixels)
    return [_correlation(thumbnail, np.rot90(_CHEST, quarters)) for quarters in range(4)]


def _thumbnail(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Return (8, 8) of what lies inside a uniform border, of mean 0."""
    step = max(1, min(pixels.shape) // _LEAST_SIDE)
    sample = np.asarray(pixels[::step, ::step], dtype=np.float32)
    sample = sample[inside_border(sample)]
    sample = np.clip(sample, *np.percentile(sample, (0.5, 99.5)))
    small = Image.fromarray(sample).resize(_CHEST.shape, Image.Resampling.BILINEAR)
    thumbnail = np.asarray(small, dtype=np.float64)
    return thumbnail - thumbnail.mean()


def _correlation(thumbnail: NDArray[np.float64], chest: NDArray[np.float64]) -> float:
    strength = float(np.linalg.norm(thumbnail) * np.linalg.norm(chest))
    return float((thumbnail * chest).sum()) / strength if strength > 1e-9 else 0.0


def _varied(lines: NDArray[Any], limit: float) -> slice:
    """Return which of (N, M) `lines` are left without those at both ends that span at most `limit`."""
    low, high = np.percentile(lines, (10, 90), axis=1)
    varied = np.flatnonzero(high - low > limit)
    if not varied.size:
        return slice(0, len(lines))
    most = int(_MOST_BORDER * len(lines))
    return slice(min(int(varied[0]), most), max(int(varied[-1]) + 1, len(lines) - most))
