"""The heart's width over the chest's."""

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.segmentation import Structures


def cardiothoracic_ratio_of(found: Structures, spacing_mm: tuple[float, float] | None) -> float | None:
    """Return the ratio as JSON has it, to four digits; None also of a film that is no upright frontal one.

    Args:
        found: the structures of one film.
        spacing_mm: not needed.
    """
    ratio = cardiothoracic_ratio(found.heart, found.right | found.left) if found.standard_view else None
    return None if ratio is None else round(ratio, 4)


def cardiothoracic_ratio(heart: NDArray[np.bool_], lungs: NDArray[np.bool_]) -> float | None:
    """Return greatest width of the heart over greatest inner width of the chest (Danzer).

    None where a structure is missing, also one of the two lungs, or the lungs are no wider than the heart.
    The heart's width is the sum of its greatest extents to either side, thus from its first to its last
    column. The chest's is the greatest distance, within one row, from the outer edge of one lung to that of
    the other, edge pixels included; the two lie on either side of the heart's middle. Both lie along the
    rows, so a spacing whose pixels are not square cancels out.

    Args:
        heart: (H, W) bool.
        lungs: (H, W) bool, both lungs.
    """
    columns = np.flatnonzero(heart.any(axis=0))
    if not columns.size:
        return None
    middle = int(columns[0] + columns[-1] + 1) // 2
    rows = lungs[:, :middle].any(axis=1) & lungs[:, middle:].any(axis=1)  # one lung alone is no chest
    if not rows.any():
        return None
    first = lungs[rows].argmax(axis=1)
    last = lungs.shape[1] - lungs[rows][:, ::-1].argmax(axis=1)  # exclusive
    chest = int((last - first).max())
    ratio = float(columns[-1] + 1 - columns[0]) / chest
    return ratio if ratio < 1 else None
