"""The area of each lung, and their ratio."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def lung_areas(
    right: NDArray[np.bool_], left: NDArray[np.bool_], spacing_mm: tuple[float, float] | None
) -> dict[str, Any]:
    """Return `right_lung` and `left_lung`, each `area_px`, `area_mm2`, `area_cm2`, and `lung_ratio`.

    Areas lie in the plane of the spacing and need it: without it mm² and cm² are None. The ratio, right over
    left, needs no spacing; it is None where the left lung is empty.

    Args:
        right: (H, W) bool.
        left: (H, W) bool.
        spacing_mm: (row, column), mm a pixel.
    """
    pixels = {"right_lung": int(right.sum()), "left_lung": int(left.sum())}
    ratio = round(pixels["right_lung"] / pixels["left_lung"], 4) if pixels["left_lung"] else None
    return {name: _area(count, spacing_mm) for name, count in pixels.items()} | {"lung_ratio": ratio}


def _area(pixels: int, spacing_mm: tuple[float, float] | None) -> dict[str, Any]:
    area = None if spacing_mm is None else pixels * spacing_mm[0] * spacing_mm[1]  # mm²
    return {
        "area_px": pixels,
        "area_mm2": None if area is None else round(area, 2),
        "area_cm2": None if area is None else round(area / 100, 2),
    }
