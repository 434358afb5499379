"""Connected parts of a small binary mask, without SciPy (which is no dependency of the inference install)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Part:
    """One 4-connected part: `area` in cells, `box` (x_min, y_min, x_max, y_max) in cells, end exclusive."""

    area: int
    box: tuple[int, int, int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """Centre (x, y) of the box, in cells."""
        x_min, y_min, x_max, y_max = self.box
        return (x_min + x_max) / 2, (y_min + y_max) / 2


def connected_parts(mask: NDArray[np.bool_]) -> list[Part]:
    """Find the 4-connected parts of a mask (H, W), largest first.

    Every row is cut into runs of true cells; runs of neighbouring rows that overlap are joined (union-find).
    The cost is Python time per run, so this is meant for a model's low-resolution grid, not for a whole film.
    """
    rows, starts, ends = _runs(mask)
    label = _join(rows, starts, ends)
    parts = []
    for root in np.unique(label):
        own = label == root
        box = (
            int(starts[own].min()),
            int(rows[own].min()),
            int(ends[own].max()),
            int(rows[own].max()) + 1,
        )
        parts.append(Part(area=int((ends[own] - starts[own]).sum()), box=box))
    return sorted(parts, key=lambda part: -part.area)


def enclosing_box(parts: list[Part]) -> tuple[int, int, int, int]:
    """Smallest box (x_min, y_min, x_max, y_max), in cells, round all `parts` (at least one)."""
    boxes = np.array([part.box for part in parts])
    x_min, y_min = boxes[:, :2].min(axis=0)
    x_max, y_max = boxes[:, 2:].max(axis=0)
    return int(x_min), int(y_min), int(x_max), int(y_max)


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, start and end (exclusive) of every run of true cells, in reading order."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)  # (H, W + 1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    return rows, starts, ends


def _join(rows: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Label of every run: the number of the first run of its part."""
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
