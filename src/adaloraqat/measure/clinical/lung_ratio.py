"""The right lung's area over the left one's."""

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.segmentation import Structures


def lung_ratio_of(found: Structures, spacing_mm: tuple[float, float] | None) -> float | None:
    """Return the ratio as JSON has it; None also of a film that is no upright frontal one.

    Args:
        found: the structures of one film.
        spacing_mm: not needed.
    """
    return lung_ratio(found.right, found.left) if found.standard_view else None


def lung_ratio(right: NDArray[np.bool_], left: NDArray[np.bool_]) -> float | None:
    """Return pixels of the right lung over those of the left, to four digits; None where the left is empty.

    Args:
        right: (H, W) bool.
        left: (H, W) bool.
    """
    pixels = int(left.sum())
    return round(int(right.sum()) / pixels, 4) if pixels else None
