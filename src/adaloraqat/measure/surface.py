"""Distances from outline to outline: normalised surface distance (NSD), HD95 and ASSD of two masks.

The outline is the one of Nikolov et al. (2018, "Deep learning to achieve clinically applicable
segmentation"): in every 2 x 2 window of pixel centres that holds both foreground and background lies one
element of the outline, with the length that marching squares gives it. Distances run between the centres of
these elements and every element weighs by its length, so that a slanted outline counts as much a millimetre
as a straight one. What lies beyond the film is background: a mask that touches the film's edge has an outline
there.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.errors import FilmError
from adaloraqat.measure.overlap import Mask, check_pair

Spacing = tuple[float, float]
Floats = NDArray[np.float64]

_ON_TOLERANCE = 1e-9  # relative: a distance of exactly the tolerance is within it, whatever the rounding


@dataclass(frozen=True)
class SurfaceDistances:
    """For every outline element of one mask, the distance to the other mask's outline.

    Attributes:
        to_truth: (P,) from each element of the prediction's outline to the nearest one of the truth's.
        to_prediction: (T,) from each element of the truth's outline to the nearest one of the prediction's.
        predicted_length, true_length: (P,), (T,) lengths of the elements.

    All in the unit of the spacing: mm, or px where it was (1, 1).
    """

    to_truth: Floats
    to_prediction: Floats
    predicted_length: Floats
    true_length: Floats

    def nsd(self, tolerance: float) -> float:
        """Share of both outlines' length that lies within `tolerance` of the other outline, in [0, 1]."""
        reach = tolerance * (1 + _ON_TOLERANCE)
        within = self.predicted_length[self.to_truth <= reach].sum()
        within += self.true_length[self.to_prediction <= reach].sum()
        return float(within / (self.predicted_length.sum() + self.true_length.sum()))

    def hausdorff(self, percent: float = 95.0) -> float:
        """Distance within which `percent` of either outline's length lies; the greater of both directions."""
        return max(
            _percentile(self.to_truth, self.predicted_length, percent),
            _percentile(self.to_prediction, self.true_length, percent),
        )

    def average(self) -> float:
        """Average symmetric surface distance: the mean distance over the length of both outlines (ASSD)."""
        total = self.to_truth @ self.predicted_length + self.to_prediction @ self.true_length
        return float(total / (self.predicted_length.sum() + self.true_length.sum()))


def surface_distances(prediction: Mask, truth: Mask, spacing: Spacing = (1.0, 1.0)) -> SurfaceDistances:
    """Measure the distances between the outlines of two (H, W) bool masks, neither of them empty.

    Args:
        prediction: (H, W) bool.
        truth: (H, W) bool.
        spacing: (row, column) distance of pixel centres; (1, 1) measures in pixels.

    Raises:
        FilmError: the masks cannot be compared, one of them is empty, or the spacing is not a distance.

    """
    from scipy.spatial import KDTree

    check_pair(prediction, truth)
    check_spacing(spacing)
    predicted, predicted_length = outline(prediction, spacing)
    true, true_length = outline(truth, spacing)
    if not len(predicted) or not len(true):
        raise FilmError(
            "An empty mask has no outline to measure distances from: use score_film, "
            "which defines every measure for empty masks."
        )
    # a tree of outline points is as exact as a distance transform of the film, and several times faster
    to_truth, _ = KDTree(true).query(predicted)
    to_prediction, _ = KDTree(predicted).query(true)
    return SurfaceDistances(to_truth, to_prediction, predicted_length, true_length)


def outline(mask: Mask, spacing: Spacing = (1.0, 1.0)) -> tuple[Floats, Floats]:
    """Return the outline of an (H, W) bool mask: positions (N, 2) as (row, column), and lengths (N,).

    Positions are those of pixel corners in the unit of `spacing`: (0, 0) is the centre of pixel (0, 0), so
    the corner between the first four pixels lies at half a spacing. An empty mask has none.
    """
    top, bottom, left, right = _bounds(mask)
    padded = np.zeros((bottom - top + 2, right - left + 2), np.uint8)
    padded[1:-1, 1:-1] = mask[top:bottom, left:right]
    upper, lower = padded[:-1], padded[1:]
    window = 8 * upper[:, :-1] + 4 * upper[:, 1:] + 2 * lower[:, :-1] + lower[:, 1:]  # 0..15
    rows, columns = np.nonzero((window > 0) & (window < 15))
    corners = np.stack([rows + (top - 0.5), columns + (left - 0.5)], axis=1)  # (N, 2)
    return corners * np.asarray(spacing), _element_lengths(spacing)[window[rows, columns]]


def diagonal(shape: tuple[int, ...], spacing: Spacing = (1.0, 1.0)) -> float:
    """Length of the film's diagonal, the worst distance: no two outlines can be farther apart."""
    return math.hypot(shape[0] * spacing[0], shape[1] * spacing[1])


def check_spacing(spacing: Any) -> None:
    """Refuse a spacing that is not two positive distances.

    Raises:
        FilmError: it is not.

    """
    if len(spacing) != 2 or not all(math.isfinite(side) and side > 0 for side in spacing):
        raise FilmError(
            "The pixel spacing is not two distances above 0: give mm per pixel as (row, column), or none."
        )


def _element_lengths(spacing: Spacing) -> Floats:
    """(16,) length of the outline in a window, by its code: 8 4 / 2 1 for its four pixels."""
    row, column = spacing
    corner = 0.5 * math.hypot(row, column)  # cuts one pixel off the other three
    lengths = np.full(16, corner)
    lengths[[0, 15]] = 0.0
    lengths[[0b0011, 0b1100]] = column  # runs along the row
    lengths[[0b0101, 0b1010]] = row
    lengths[[0b0110, 0b1001]] = 2 * corner  # two opposite pixels: cut off both
    return lengths


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    """Rows and columns (first, one past the last) that hold the mask; zeros for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _percentile(distances: Floats, lengths: Floats, percent: float) -> float:
    """Return the least distance within which `percent` of the length lies."""
    order = np.argsort(distances)
    share = np.cumsum(lengths[order]) / lengths.sum()
    # the sum of all shares may round to just below one
    place = min(int(np.searchsorted(share, percent / 100 - 1e-12)), len(order) - 1)
    return float(distances[order[place]])
