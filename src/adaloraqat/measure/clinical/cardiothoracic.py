"""The cardiothoracic ratio: greatest width of the heart over greatest inner width of the chest (Danzer)."""

import numpy as np
from numpy.typing import NDArray


def cardiothoracic_ratio(heart: NDArray[np.bool_], lungs: NDArray[np.bool_]) -> float | None:
    """Return the ratio, None where a structure is missing or the lungs are no wider than the heart.

    The heart's width is the sum of its greatest extents to either side, thus from its first to its last
    column. The chest's is the greatest distance, within one row, from the outer edge of one lung to that of
    the other, edge pixels included. Both lie along the rows, so a spacing whose pixels are not square cancels
    out.

    Args:
        heart: (H, W) bool.
        lungs: (H, W) bool, both lungs.
    """
    columns = np.flatnonzero(heart.any(axis=0))
    rows = lungs.any(axis=1)
    if not columns.size or not rows.any():
        return None
    first = lungs[rows].argmax(axis=1)
    last = lungs.shape[1] - lungs[rows][:, ::-1].argmax(axis=1)  # exclusive
    chest = int((last - first).max())
    ratio = float(columns[-1] + 1 - columns[0]) / chest
    return ratio if ratio < 1 else None
