"""Stored values whose greatest is black, turned over."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def turned_over(values: NDArray[Any]) -> NDArray[Any]:
    """Return (H, W) values turned over within the range that `film.scaled` will take for theirs."""
    if values.dtype == np.uint8:
        return 255 - values
    if values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        return 1 - values
    wide = values.astype(np.int32) if values.dtype.kind == "i" else values  # signed differences could wrap
    return wide.max() - wide
