"""What is measured on a film's structures: one small file a measure, and one call for all of them."""

from typing import Any

from adaloraqat.bundle.segmentation import Segmentation
from adaloraqat.measure.clinical.cardiothoracic import cardiothoracic_ratio
from adaloraqat.measure.clinical.lung_areas import lung_areas

__all__ = ["cardiothoracic_ratio", "clinical_measures", "lung_areas"]


def clinical_measures(result: Segmentation) -> dict[str, Any] | None:
    """Return the measures of one film as JSON has them; None where the model was not trained for structures.

    Keys: `cardiothoracic_ratio`; `right_lung` and `left_lung` (`area_px`, `area_mm2`, `area_cm2`),
        `lung_ratio` (right over left); `heart_area_px`; `sides_from` and `sides_certain`. A measure that
        cannot be taken is None.
    """
    found = result.structures
    if found is None:
        return None
    ratio = cardiothoracic_ratio(found.heart, found.right | found.left)
    return {
        "cardiothoracic_ratio": None if ratio is None else round(ratio, 4),
        **lung_areas(found.right, found.left, result.spacing_mm),
        "heart_area_px": int(found.heart.sum()),
        "sides_from": found.sides_from,
        "sides_certain": found.sides_certain,
    }
