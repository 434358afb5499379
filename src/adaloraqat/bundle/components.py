"""Connected components of a small binary mask, without SciPy (not part of the inference install)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Runs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Component:
    """One 4-connected component: `area` in cells, `box` (x_min, y_min, x_max, y_max) in cells, end
    exclusive.
    """

    area: int
    box: tuple[int, int, int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """Centre (x, y) of the box, in cells."""
        x_min, y_min, x_max, y_max = self.box
        return (x_min + x_max) / 2, (y_min + y_max) / 2


def connected_components(mask: NDArray[np.bool_]) -> list[Component]:
    """Find the 4-connected components of a mask (H, W), largest first.

    Every row is cut into runs of true cells; runs of neighbouring rows that overlap are joined (union-find).
    The cost is Python time per run, so this is meant for a model's low-resolution grid, not for a whole film.
    """
    (rows, starts, ends), component, areas = _components(mask)
    lowest, highest = np.full((2, len(areas)), mask.size), np.zeros((2, len(areas)), np.int64)
    for axis, (first, last) in enumerate(((starts, ends), (rows, rows + 1))):
        np.minimum.at(lowest[axis], component, first)
        np.maximum.at(highest[axis], component, last)
    boxes = np.concatenate([lowest, highest]).T.tolist()  # x_min, y_min, x_max, y_max
    order = np.argsort(-areas, kind="stable")
    return [Component(area=int(areas[number]), box=tuple(boxes[number])) for number in order]


def remove_small_components(logits: NDArray[np.float32], smallest: float) -> NDArray[np.float32]:
    """Return logits (H, W) without specks and pinholes; what is flipped keeps its magnitude.

    Specks are positive components smaller than `smallest` times the largest; pinholes are enclosed negative
    ones below the same size. `smallest` is 0 (change nothing) to 1 (keep only the largest component).
    """
    if smallest <= 0:
        return logits
    labels, areas = label_components(logits > 0)
    if not areas.size:
        return logits
    limit = smallest * areas.max()
    specks = np.isin(labels, np.flatnonzero(areas < limit) + 1)
    cleaned = np.where(specks, -np.abs(logits), logits)
    labels, areas = label_components(cleaned <= 0)
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    enclosed = np.setdiff1d(np.flatnonzero(areas < limit) + 1, edge)
    return np.where(np.isin(labels, enclosed), np.abs(logits), cleaned).astype(np.float32)


def components_touching(logits: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return logits (H, W) without the positive components that share no cell with `mask` (H, W)."""
    labels, _ = label_components(logits > 0)
    kept = np.unique(labels[mask & (labels > 0)])
    return np.where((labels > 0) & ~np.isin(labels, kept), -np.abs(logits), logits).astype(np.float32)


def label_components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the 4-connected components of a mask (H, W) from 1; also return the area of each, in cells."""
    (_, starts, ends), component, areas = _components(mask)
    labels = np.zeros(mask.shape, np.int64)
    labels[mask] = np.repeat(component + 1, ends - starts)  # runs and true cells are both in reading order
    return labels, areas


def enclosing_box(components: list[Component]) -> tuple[int, int, int, int]:
    """Smallest box (x_min, y_min, x_max, y_max), in cells, round all `components` (at least one)."""
    boxes = np.array([component.box for component in components])
    x_min, y_min = boxes[:, :2].min(axis=0)
    x_max, y_max = boxes[:, 2:].max(axis=0)
    return int(x_min), int(y_min), int(x_max), int(y_max)


def _components(mask: NDArray[np.bool_]) -> tuple[_Runs, NDArray[np.int64], NDArray[np.int64]]:
    """Runs of a mask (H, W), each run's component from 0, and each component's area in cells."""
    runs = rows, starts, ends = _runs(mask)
    _, component = np.unique(_join(rows, starts, ends), return_inverse=True)
    return runs, component, np.bincount(component, weights=ends - starts).astype(np.int64)


def _runs(mask: NDArray[np.bool_]) -> _Runs:
    """Row, start and end (exclusive) of every run of true cells, in reading order."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)  # (H, W + 1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    return rows, starts, ends


def _join(rows: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Label of every run: the number of the first run of its component."""
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    row, start, end = rows.tolist(), starts.tolist(), ends.tolist()
    above = 0
    for run in range(len(row)):
        while row[above] < row[run] - 1 or (row[above] == row[run] - 1 and end[above] <= start[run]):
            above += 1
        other = above
        while row[other] == row[run] - 1 and start[other] < end[run]:
            a, b = root(other), root(run)
            parent[max(a, b)] = min(a, b)
            other += 1
    return np.array([root(run) for run in range(len(row))], dtype=np.int64)
