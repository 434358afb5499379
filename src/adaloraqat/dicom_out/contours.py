"""Contours of a mask as DICOM's presentation states draw them: closed polylines in PIXEL units.

The origin 0.0\\0.0 is the OUTER corner of the first pixel, and 0.5\\0.5 its middle; the far corner of the
last pixel is Columns\\Rows (PS3.3 C.10.5.1.2). In that frame a contour runs through the middles of those
pixel sides that part the mask from its surroundings: it cuts each corner of the mask's edge half a pixel to
either side, and is nowhere more than 0.36 px from that edge.
"""

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 4096
"""Points of one polyline: an element of explicit VR holds 65,534 bytes, which are 8,191 points."""


def contours(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the contours of a mask (H, W): one closed polyline round each part, and one round each hole.

    Returns:
        each (N, 2) of (column, row) in PIXEL units, the last point equal to the first; points on a straight
        line between their neighbours are left out.
    """
    from contourpy import contour_generator

    height, width = mask.shape
    framed = np.pad(mask, 1).astype(np.float64)  # so that what touches the border is closed along it
    columns, rows = np.arange(-1, width + 1) + 0.5, np.arange(-1, height + 1) + 0.5  # middles of the pixels
    lines = contour_generator(columns, rows, framed, name="serial").lines(0.5)
    return [_without_straight_points(np.asarray(line)) for line in lines]


def pieces(line: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Cut a polyline (N, 2) into some of at most `MOST_POINTS` points; each begins where the last ends."""
    return [line[start : start + MOST_POINTS] for start in range(0, max(1, len(line) - 1), MOST_POINTS - 1)]


def _without_straight_points(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out the points of a closed line (N, 2) where it does not turn."""
    points = line[:-1]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
    kept = points[turns]
    return np.concatenate([kept, kept[:1]])
