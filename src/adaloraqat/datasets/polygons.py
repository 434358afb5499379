"""Fill polygons: a pixel is inside when its centre is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]


def fill(paths: Sequence[Sequence[Point]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the inside, by the even-odd rule, of closed paths of (x, y) points in pixels as (H, W) bool.

    The first pixel's centre lies at (0.5, 0.5). A path inside another is a hole. Parts outside the grid are
    cut off.
    """
    height, width = shape
    flips = np.zeros((height, width + 1), dtype=bool)
    for path in paths:
        points = np.asarray(path, dtype=np.float64).reshape(-1, 2)
        if len(points) >= 3:
            _add_edges(flips, points, np.roll(points, -1, axis=0))
    inside: NDArray[np.bool_] = np.logical_xor.accumulate(flips, axis=1)[:, :width]
    return inside


def _add_edges(flips: NDArray[np.bool_], starts: NDArray[np.float64], ends: NDArray[np.float64]) -> None:
    """Mark, per row of pixel centres, from which column on an edge turns outside into inside and back."""
    height, width = flips.shape[0], flips.shape[1] - 1
    for (x0, y0), (x1, y1) in zip(starts, ends, strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        # rows whose centre row + 0.5 lies in [y0, y1): the half-open range counts a shared corner once
        first, last = max(0, int(np.ceil(y0 - 0.5))), min(height, int(np.ceil(y1 - 0.5)))
        if first >= last:
            continue
        rows = np.arange(first, last)
        crossings = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
        flips[rows, columns] ^= True
