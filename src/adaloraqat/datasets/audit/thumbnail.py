"""The small square picture that stands for a film while films are compared: 4,096 bytes a film."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64
_WORKING = 256  # px; the film is first averaged down to about this, so that the rest costs nothing
_PLAIN = 0.04  # a row or column whose grey values differ by less, of the film's range, is an empty border
_MOST_TRIMMED = 0.3  # of a side: more than that is no border


def thumbnail(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (64, 64) uint8 of (H, W) `pixels` in [0, 1]: empty borders off, sides made equal, stretched.

    Sides are made equal because copies in public sets are often squeezed into a square; the stretch is
    between the percentiles 1 and 99, so that brightness and contrast do not count.
    A uniform film gives zeros.
    """
    small = _trimmed(reduced(pixels, _WORKING))
    sampled = np.asarray(
        Image.fromarray(small).resize(
            (SIDE, SIDE), Image.Resampling.BOX if min(small.shape) >= SIDE else Image.Resampling.BILINEAR
        )
    )
    low, high = np.percentile(sampled, (1, 99))
    if high - low < 1e-4:
        return np.zeros((SIDE, SIDE), np.uint8)
    return (np.clip((sampled - low) / (high - low), 0, 1) * 255 + 0.5).astype(np.uint8)


def reduced(pixels: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Return (h, w) float32 of (H, W) `pixels`, averaged so that the longest side is near `side`."""
    factor = max(1, max(pixels.shape) // side)
    picture = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    return np.asarray(picture.reduce(factor) if factor > 1 else picture, dtype=np.float32)


def _trimmed(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    range_ = float(np.subtract(*np.percentile(pixels, (99, 1))))
    if range_ <= 0:
        return pixels
    rows, columns = (
        np.subtract(*np.percentile(pixels, (95, 5), axis=axis)) < _PLAIN * range_ for axis in (1, 0)
    )
    (top, bottom), (left, right) = _inner(rows), _inner(columns)
    return pixels[top:bottom, left:right]


def _inner(plain: NDArray[np.bool_]) -> tuple[int, int]:
    """Return where a side's content starts and ends; the whole side where the borders would be too wide."""
    content = np.flatnonzero(~plain)
    if not content.size:
        return 0, len(plain)
    most = _MOST_TRIMMED * len(plain)
    start, end = int(content[0]), int(content[-1]) + 1
    return (start if start <= most else 0), (end if len(plain) - end <= most else len(plain))
