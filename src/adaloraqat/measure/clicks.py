"""Where a person who corrects a mask would click next (SAM, arXiv 2304.02643; Sofiiuk et al. 2102.06583)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adaloraqat.measure.overlap import Mask


class Click(NamedTuple):
    """A pixel, and what it says: 1 where the truth is and the mask is not, 0 where the mask is too much."""

    x: int
    y: int
    label: int


def next_click(mask: Mask, truth: Mask) -> Click | None:
    """Return the pixel farthest inside the largest region where `mask` is wrong; None where it is right.

    Missing and superfluous pixels are regions of their own (4-connected). Of an empty mask the region is the
    largest part of the truth. Of several pixels equally far inside it is the first in reading order.

    Args:
        mask: (H, W) bool.
        truth: (H, W) bool.
    """
    from scipy import ndimage

    regions = []
    for label, wrong in ((1, truth & ~mask), (0, mask & ~truth)):
        parts, _ = ndimage.label(wrong)
        areas = np.bincount(parts.ravel())[1:]
        if areas.size:
            regions.append((int(areas.max()), label, parts, int(areas.argmax()) + 1))
    if not regions:
        return None
    _, label, parts, number = max(regions, key=lambda region: region[:2])
    rows, columns = ndimage.find_objects(parts, number)[number - 1]
    region = np.pad(parts[rows, columns] == number, 1)  # the film's edge bounds a region too
    depth = ndimage.distance_transform_edt(region)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return Click(int(x) - 1 + columns.start, int(y) - 1 + rows.start, label)
