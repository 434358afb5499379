"""Find the film on what it lies on: a sheet, a light box, a screenshot, the shadow of a collimator."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_UNIFORM = 0.1  # of the range in the picture's middle; noise and JPEG leave a border's row within it
_MOST = 0.35  # of a side, taken off at one edge


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


def _varied(lines: NDArray[Any], limit: float) -> slice:
    """Return which of (N, M) `lines` are left without those at both ends that span at most `limit`."""
    low, high = np.percentile(lines, (10, 90), axis=1)
    varied = np.flatnonzero(high - low > limit)
    if not varied.size:
        return slice(0, len(lines))
    most = int(_MOST * len(lines))
    return slice(min(int(varied[0]), most), max(int(varied[-1]) + 1, len(lines) - most))
