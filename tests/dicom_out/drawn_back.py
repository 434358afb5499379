"""Polylines drawn back by the rule of DICOM PS3.3 C.10.5.1.2; shares no code with what writes them."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset


def polylines(state: Dataset) -> list[NDArray[np.float64]]:
    """The lines of a presentation state, (N, 2) of (column, row) in PIXEL units each."""
    return [
        np.asarray(item.GraphicData, np.float64).reshape(-1, 2)
        for annotation in state.GraphicAnnotationSequence
        for item in annotation.get("GraphicObjectSequence", [])
        if item.GraphicType == "POLYLINE" and item.GraphicAnnotationUnits == "PIXEL"
    ]


def edge(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Points (N, 2), (column, row) from the outer corner, along each pixel side between in and out."""
    framed = np.pad(mask, 1)
    along = np.linspace(0, 1, 9)
    found = []
    for row, column in zip(*np.nonzero(framed[1:] != framed[:-1]), strict=True):  # horizontal sides
        found.append(np.stack([column - 1 + along, np.full(9, float(row))], axis=1))
    for row, column in zip(*np.nonzero(framed[:, 1:] != framed[:, :-1]), strict=True):
        found.append(np.stack([np.full(9, float(column)), row - 1 + along], axis=1))
    return np.concatenate(found)


def walked(lines: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Points along polylines, at most a tenth of a pixel apart."""
    found = []
    for line in lines:
        for start, end in pairwise(line):
            steps = int(np.ceil(np.abs(end - start).max() * 10)) + 1
            found.append(start + np.linspace(0, 1, steps)[:, None] * (end - start))
    return np.concatenate(found)


def farthest(points: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    from scipy.spatial import KDTree

    return float(KDTree(others).query(points)[0].max())


def filled(lines: list[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose middle lies inside: a ray from it crosses an odd number of lines."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, bool)
    for line in lines:
        for (x0, y0), (x1, y1) in pairwise(line):
            if y0 != y1:
                crossed = slice(int(np.ceil(min(y0, y1) - 0.5)), int(np.ceil(max(y0, y1) - 0.5)))
                row = rows[crossed]
                inside[crossed] ^= columns[crossed] < x0 + (row - y0) * (x1 - x0) / (y1 - y0)
    return inside
