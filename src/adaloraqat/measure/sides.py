"""Which side a pixel belongs to: right or left lung, by the nearest labelled lung."""

import numpy as np
from numpy.typing import NDArray

from adaloraqat.errors import FilmError
from adaloraqat.measure.overlap import Mask
from adaloraqat.measure.surface import Spacing
from adaloraqat.radiograph import LEFT_LUNG, RIGHT_LUNG

RIGHT, LEFT = "right", "left"
LABELS = {RIGHT: RIGHT_LUNG, LEFT: LEFT_LUNG}
"""Values in a label picture; the right lung lies at the image's left."""


def split_sides(
    mask: Mask, labels: NDArray[np.uint8], spacing: Spacing = (1.0, 1.0)
) -> dict[str, Mask | None]:
    """Divide a mask (H, W) bool between the two labelled lungs.

    A pixel on a labelled lung belongs to it; any other pixel (the heart's included) belongs to the lung that
    has the nearest labelled pixel, and to the right one where both are equally near. A lung that is not
    labelled is None, and the other one then takes every pixel.

    Args:
        mask: (H, W) bool.
        labels: (H, W) with 1 right lung, 2 left lung.
        spacing: (row, column) distance of pixels, by which nearness is judged.

    Raises:
        FilmError: mask and labels differ in shape.

    """
    if mask.shape != labels.shape:
        raise FilmError("The labels are not on the mask's grid: give labels of the film's own size.")
    lungs = {side: labels == value for side, value in LABELS.items()}
    present = [side for side, lung in lungs.items() if lung.any()]
    if len(present) < len(lungs):
        return {side: mask.copy() if side in present else None for side in lungs}
    right, left = mask & lungs[RIGHT], mask & lungs[LEFT]
    rows, columns = np.nonzero(mask & ~lungs[RIGHT] & ~lungs[LEFT])
    if len(rows):
        pixels = np.stack([rows, columns], axis=1) * np.asarray(spacing)
        nearer_right = _distance(pixels, lungs[RIGHT], spacing) <= _distance(pixels, lungs[LEFT], spacing)
        right[rows[nearer_right], columns[nearer_right]] = True
        left[rows[~nearer_right], columns[~nearer_right]] = True
    return {RIGHT: right, LEFT: left}


def _distance(pixels: NDArray[np.float64], lung: Mask, spacing: Spacing) -> NDArray[np.float64]:
    """From `pixels` (N, 2) outside `lung` to its nearest pixel; (N,) in the unit of `spacing`."""
    from scipy.spatial import KDTree

    edge = np.argwhere(lung & ~_surrounded(lung)) * np.asarray(spacing)  # the nearest pixel is on the edge
    return np.asarray(KDTree(edge).query(pixels)[0])


def _surrounded(mask: Mask) -> Mask:
    """(H, W) bool: pixels whose four neighbours are set; beyond the film nothing is."""
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
