"""A few films that stand for many: evenly spaced, so that no source is left out because of its name."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def evenly_spread(items: Sequence[Item], count: int) -> list[Item]:
    """Return at most `count` of `items`, evenly spaced, the first and the last among them, in their order."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]
