"""What is measured on a film's structures: a file and a line of `MEASURES` for each, and one call for all."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.segmentation import Segmentation, Structures
from adaloraqat.measure.clinical.cardiothoracic_ratio import cardiothoracic_ratio, cardiothoracic_ratio_of
from adaloraqat.measure.clinical.heart_area import heart_area_of
from adaloraqat.measure.clinical.lung_area import left_lung_of, lung_area, right_lung_of
from adaloraqat.measure.clinical.lung_ratio import lung_ratio, lung_ratio_of
from adaloraqat.renamed import warn_renamed

__all__ = [
    "MEASURES",
    "Measure",
    "cardiothoracic_ratio",
    "clinical_measures",
    "lung_area",
    "lung_areas",
    "lung_ratio",
]

Measure = Callable[[Structures, tuple[float, float] | None], Any]
"""Takes a film's structures and its spacing, (row, column) in mm a pixel; gives what JSON can hold."""

MEASURES: Mapping[str, Measure] = {
    "cardiothoracic_ratio": cardiothoracic_ratio_of,
    "right_lung": right_lung_of,
    "left_lung": left_lung_of,
    "lung_ratio": lung_ratio_of,
    "heart_area_px": heart_area_of,
}
"""By key, in the order of JSON; of measures.csv too, where each lung has columns of its own."""


def clinical_measures(result: Segmentation) -> dict[str, Any] | None:
    """Return the measures of one film as JSON has them; None where the model was not trained for structures.

    Keys: those of `MEASURES`, thus `cardiothoracic_ratio`; `right_lung` and `left_lung` (`area_px`,
        `area_mm2`, `area_cm2`), `lung_ratio` (right over left); `heart_area_px`; then `sides_from` and
        `sides_certain`. A measure that cannot be taken is None, as are both ratios of a film that is no
        upright frontal one.
    """
    found = result.structures
    if found is None:
        return None
    return {
        **{key: measure(found, result.spacing_mm) for key, measure in MEASURES.items()},
        "sides_from": found.sides_from,
        "sides_certain": found.sides_certain,
    }


def lung_areas(
    right: NDArray[np.bool_], left: NDArray[np.bool_], spacing_mm: tuple[float, float] | None
) -> dict[str, Any]:
    """Return what `lung_area` gives of `right_lung` and `left_lung`, and `lung_ratio`: the name of before."""
    warn_renamed("lung_areas", "lung_area and lung_ratio")
    areas = {"right_lung": lung_area(right, spacing_mm), "left_lung": lung_area(left, spacing_mm)}
    return areas | {"lung_ratio": lung_ratio(right, left)}
