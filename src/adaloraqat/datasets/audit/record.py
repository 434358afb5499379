"""What an audit keeps of a film: its hash, its thumbnail and what was wrong, a few kilobytes in all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Problem:
    """What is or looks wrong with one film: a `kind` for programs, a sentence for people."""

    id: str
    kind: str
    message: str


@dataclass(frozen=True)
class MaskFacts:
    """The shape of one mask, by which mask conventions differ.

    `area` is its share of the film; `right_over_left` the area of the part at the image's left over that at
    the image's right; `gap` the mean distance between the two parts in the lowest third of their common
    height, over the width of the mask's box: it is wide where the heart is left out. Both are None where the
    mask has not two parts.
    """

    area: float
    right_over_left: float | None
    gap: float | None


@dataclass(frozen=True, eq=False)
class FilmRecord:
    """One film as the audit remembers it.

    `digest` is the SHA-256 of its size and pixels and `thumbnail` (64, 64) uint8; both are None where the
    film cannot be read. `righted` tells that its content was that of a negative.
    """

    id: str
    digest: bytes | None
    thumbnail: NDArray[np.uint8] | None
    righted: bool
    mask: MaskFacts | None
    problems: tuple[Problem, ...]
