"""Boxes on the original grid."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaloraqat.errors import FilmError


class Box(NamedTuple):
    """A box prompt in pixels of the original grid; right and bottom exclusive.

    The whole film is `(0, 0, W, H)`; the box of one pixel at column 3, row 5 is `(3, 5, 4, 6)`.
    """

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> "Box":
        """Return the box of a whole film of (H, W) pixels."""
        return cls(0.0, 0.0, float(shape[1]), float(shape[0]))

    @classmethod
    def given(cls, sides: Any, shape: tuple[int, int]) -> "Box":
        """Return the box of a caller's four numbers, as `checked` has it.

        Raises:
            FilmError: not four numbers, or as for `checked`.
        """
        try:
            numbers = [float(side) for side in sides]
        except (TypeError, ValueError, OverflowError):
            numbers = []
        if len(numbers) != len(cls._fields):
            raise FilmError(f"A box is four numbers, x_min y_min x_max y_max in pixels, not {sides!r}.")
        return cls(*numbers).checked(shape)

    @classmethod
    def around(cls, mask: NDArray[Any]) -> "Box":
        """Return the tightest box around the nonzero pixels of (H, W) `mask`.

        Raises:
            FilmError: the mask is empty.
        """
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if len(rows) == 0:
            raise FilmError("An empty mask has no box around it: give a mask with at least one pixel set.")
        return cls(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))

    def checked(self, shape: tuple[int, int]) -> "Box":
        """Return the box clipped to a film of (H, W) pixels.

        Raises:
            FilmError: a side is not a number, the box is inverted or empty, or lies outside the film.
        """
        text = "({:g}, {:g}, {:g}, {:g})".format(*self)
        if not all(math.isfinite(side) for side in self):
            raise FilmError(
                f"The box {text} is not made of finite numbers: give x_min y_min x_max y_max in pixels."
            )
        if self.x_min >= self.x_max or self.y_min >= self.y_max:
            raise FilmError(
                f"The box {text} is inverted or empty: give x_min y_min x_max y_max in this order."
            )
        height, width = shape
        clipped = Box(
            max(0.0, float(self.x_min)),
            max(0.0, float(self.y_min)),
            min(float(width), float(self.x_max)),
            min(float(height), float(self.y_max)),
        )
        if clipped.x_min >= clipped.x_max or clipped.y_min >= clipped.y_max:
            raise FilmError(
                f"The box {text} lies outside the film of {width} x {height} pixels: "
                "give pixels of the original film."
            )
        return clipped
