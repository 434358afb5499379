"""What is measured on a film's structures: a function a measure, and one call for all of them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.segmentation import Segmentation


def clinical_measures(result: Segmentation) -> dict[str, Any] | None:
    """Return the measures of one film as JSON has them; None where the model was not trained for structures.

    Keys: `cardiothoracic_ratio`; `right_lung` and `left_lung` (`area_px`, `area_mm2`, `area_cm2`),
        `lung_ratio` (right over left); `heart_area_px`; `sides_from` and `sides_certain`. A measure that
        cannot be taken is None, as are both ratios of a film that is no upright frontal one.
    """
    found = result.structures
    if found is None:
        return None
    ratio = cardiothoracic_ratio(found.heart, found.right | found.left) if found.standard_view else None
    areas = lung_areas(found.right, found.left, result.spacing_mm)
    return {
        "cardiothoracic_ratio": None if ratio is None else round(ratio, 4),
        **areas,
        "lung_ratio": areas["lung_ratio"] if found.standard_view else None,
        "heart_area_px": int(found.heart.sum()),
        "sides_from": found.sides_from,
        "sides_certain": found.sides_certain,
    }


def cardiothoracic_ratio(heart: NDArray[np.bool_], lungs: NDArray[np.bool_]) -> float | None:
    """Return greatest width of the heart over greatest inner width of the chest (Danzer).

    None where a structure is missing, also one of the two lungs, or the lungs are no wider than the heart.
    The heart's width is the sum of its greatest extents to either side, thus from its first to its last
    column. The chest's is the greatest distance, within one row, from the outer edge of one lung to that of
    the other, edge pixels included; the two lie on either side of the heart's middle. Both lie along the
    rows, so a spacing whose pixels are not square cancels out.

    Args:
        heart: (H, W) bool.
        lungs: (H, W) bool, both lungs.
    """
    columns = np.flatnonzero(heart.any(axis=0))
    if not columns.size:
        return None
    middle = int(columns[0] + columns[-1] + 1) // 2
    rows = lungs[:, :middle].any(axis=1) & lungs[:, middle:].any(axis=1)  # one lung alone is no chest
    if not rows.any():
        return None
    first = lungs[rows].argmax(axis=1)
    last = lungs.shape[1] - lungs[rows][:, ::-1].argmax(axis=1)  # exclusive
    chest = int((last - first).max())
    ratio = float(columns[-1] + 1 - columns[0]) / chest
    return ratio if ratio < 1 else None


def lung_areas(
    right: NDArray[np.bool_], left: NDArray[np.bool_], spacing_mm: tuple[float, float] | None
) -> dict[str, Any]:
    """Return the areas of `right_lung` and `left_lung` (`area_px`, `area_mm2`, `area_cm2`), and `lung_ratio`.

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
