"""The area of each lung."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.segmentation import Structures


def right_lung_of(found: Structures, spacing_mm: tuple[float, float] | None) -> dict[str, Any]:
    """Return the area of the patient's right lung, as `lung_area` gives it."""
    return lung_area(found.right, spacing_mm)


def left_lung_of(found: Structures, spacing_mm: tuple[float, float] | None) -> dict[str, Any]:
    """Return the area of the patient's left lung, as `lung_area` gives it."""
    return lung_area(found.left, spacing_mm)


def lung_area(lung: NDArray[np.bool_], spacing_mm: tuple[float, float] | None) -> dict[str, Any]:
    """Return `area_px`, and `area_mm2` and `area_cm2` to two digits.

    The area lies in the plane of the spacing and needs it: without it mm² and cm² are None.

    Args:
        lung: (H, W) bool.
        spacing_mm: (row, column), mm a pixel.
    """
    pixels = int(lung.sum())
    area = None if spacing_mm is None else pixels * spacing_mm[0] * spacing_mm[1]  # mm²
    return {
        "area_px": pixels,
        "area_mm2": None if area is None else round(area, 2),
        "area_cm2": None if area is None else round(area / 100, 2),
    }
