"""What is outlined, in SNOMED CT codes: the lung, or where the sides are clear each of the two."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from adaloraqat.bundle.components import label_components
from adaloraqat.bundle.segmentation import Structures

LUNG = codes.SCT.Lung
HEART = codes.SCT.Heart
STRUCTURE = codes.SCT.AnatomicalStructure
RIGHT, LEFT = codes.SCT.Right, codes.SCT.Left

_OF_RIGHT_EDGE = {"L": (RIGHT, LEFT), "R": (LEFT, RIGHT)}  # what lies at the image's left, and at its right


@dataclass(frozen=True)
class Region:
    """One outlined structure: `mask` (H, W) bool on the film's grid, `side` `RIGHT`, `LEFT` or None.

    `kind` is `LUNG` or `HEART`.
    """

    label: str
    mask: NDArray[np.bool_] = field(repr=False)
    side: Code | None = None
    kind: Code = LUNG

    @property
    def area_px(self) -> int:
        """Pixels of the region."""
        return int(np.count_nonzero(self.mask))


def structure_regions(found: Structures, mask: NDArray[np.bool_]) -> tuple[Region, ...]:
    """Return the regions of a film whose structures a model tells apart; one lung where sides are uncertain.

    Args:
        found: lungs and heart.
        mask: (H, W), both lungs.
    """
    lungs: tuple[Region, ...] = (Region("Lung", mask),)
    if found.sides_certain:
        sides = ((RIGHT, found.right), (LEFT, found.left))
        lungs = tuple(Region(f"{side.meaning} lung", lung, side) for side, lung in sides if lung.any())
    heart = (Region("Heart", found.heart, kind=HEART),) if found.heart.any() else ()
    return lungs + heart


def regions(mask: NDArray[np.bool_], orientation: Sequence[str], is_pair: bool) -> tuple[Region, ...]:
    """Divide a mask (H, W) into the right and the left lung where that is clear, else leave it one region.

    It is clear where the header says which of the patient's sides the image's right edge shows, and the mask
    is a pair of lungs. A view alone (PA, AP) says nothing: films are mirrored, and hearts lie on the right.

    Args:
        mask: on the film's grid.
        orientation: Patient Orientation: the patient's direction along the rows, then along the columns.
        is_pair: nothing made the result doubtful, and no prompt chose a part of the film.
    """
    sides = _OF_RIGHT_EDGE.get(orientation[0]) if len(orientation) else None
    if sides is None or not is_pair:
        return (Region("Lung", mask),)
    labels, areas = label_components(mask)
    if len(areas) < 2:
        return (Region("Lung", mask),)
    columns = (
        np.bincount(labels.ravel(), np.broadcast_to(np.arange(mask.shape[1]), mask.shape).ravel())[1:] / areas
    )
    # the middles of the two largest components:
    first, second = np.sort(columns[np.argsort(-areas, kind="stable")[:2]])
    in_left_half = np.concatenate([[False], columns < (first + second) / 2])[labels]
    halves = (mask & in_left_half, mask & ~in_left_half)
    return tuple(Region(f"{side.meaning} lung", half, side) for side, half in zip(sides, halves, strict=True))
