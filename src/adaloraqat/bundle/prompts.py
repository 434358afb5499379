"""SAM's prompts beside a box: points with labels, and the mask of an earlier answer (arXiv 2304.02643)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from adaloraqat.bundle.format import BOX_LABELS, NO_POINT
from adaloraqat.bundle.segmentation import Segmentation
from adaloraqat.errors import AdaloraqatError, FilmError
from adaloraqat.radiograph.geometry import Box
from adaloraqat.radiograph.preprocess import Frame

MaskLike = Segmentation | NDArray[Any]
"""A mask prompt: an earlier answer, its logits (n, n), or a mask (H, W) on the film's own grid."""

Point = tuple[float, float, int]
"""x and y in pixels of the film, and what the point says, one of `LABELS`."""

LABELS = (0, 1)
"""What a point says: it lies off what is wanted (0), or on it (1)."""

SURE = 1e-3
"""How far from 0 and 1 the probabilities are that stand for a mask that knows only inside and outside."""

CERTAIN = math.log((1 - SURE) / SURE)
"""The logit of the inside of such a mask."""


_SHOWN = 60  # characters of what was given, in a sentence


@dataclass(frozen=True)
class Prompts:
    """Everything that one mask is asked for with, checked, in pixels of the film.

    Attributes:
        box: or None.
        points: (x, y) each.
        labels: one of `LABELS` a point.
        mask: the mask prompt, or None.
    """

    box: Box | None = None
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    mask: MaskLike | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        box: Sequence[float] | None = None,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        mask: MaskLike | None = None,
    ) -> Prompts:
        """Check what was given for a film of `shape` (H, W); points without labels are all positive.

        Raises:
            FilmError: a point outside the film, a label neither 0 nor 1, labels without points, another
                number or shape of them, or a box or a mask that does not fit the film.
        """
        checked = None if box is None else Box(*map(float, box)).checked(shape)
        pairs = _checked_points(points, shape)
        kinds = _checked_labels(labels, len(pairs))
        if isinstance(mask, np.ndarray) and mask.dtype.kind in "bui" and mask.shape != shape:
            raise FilmError(
                f"The mask prompt has {_sides(mask.shape)} pixels and the film {_sides(shape)}: give a mask "
                "on the film's own grid."
            )
        return cls(checked, pairs, kinds, mask)

    def tokens(self, frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return x, y (1, 2T) in model pixels and labels (1, T) as the decoder graph takes them.

        Points come first, then the corners of the box; without a box SAM adds an empty point to points.
        """
        places, labels = [*np.ravel(frame.points_to_model(self.points))], list(self.labels)
        if self.box is not None:
            places, labels = [*places, *frame.box_to_model(self.box)], [*labels, *BOX_LABELS]
        elif labels:
            places, labels = [*places, 0.0, 0.0], [*labels, NO_POINT]
        return np.array([places], np.float32).reshape(1, -1), np.array([labels], np.int64).reshape(1, -1)

    def mask_logits(self, frame: Frame, side: int) -> NDArray[np.float32] | None:
        """Return the mask prompt as logits (side, side) over the model's square; None without one.

        Raises:
            FilmError: it is of another size, or not finite.
        """
        mask = self.mask.logits if isinstance(self.mask, Segmentation) else self.mask
        if mask is None:
            return None
        if mask.dtype.kind in "bui":
            soft = Image.fromarray(frame.mask_to_model(mask != 0)).resize((side, side), Image.Resampling.BOX)
            inside = np.clip(np.asarray(soft, np.float32), SURE, 1 - SURE)
            return np.log(inside / (1 - inside))
        if mask.shape != (side, side) or not np.isfinite(mask).all():
            raise FilmError(
                f"A mask prompt of floating point holds logits, finite and {side} x {side}, as "
                "Segmentation.logits gives them: give those, or a bool mask on the film's grid."
            )
        return mask.astype(np.float32)


def point_of(text: str, named: str, between: str | None = None) -> Point:
    """Return the point of a text `X Y LABEL`; whether it lies on the film is for `Prompts.of` to say.

    Args:
        text: what was given.
        named: what the sentence calls it, such as "--point".
        between: what stands between the three; None: any white space.

    Raises:
        AdaloraqatError: it is not one.
    """
    try:
        x, y, label = text.split(between)
        if label.strip() in map(str, LABELS):
            return float(x), float(y), int(label)
    except ValueError:
        pass
    form = (between or " ").join(("X", "Y", "LABEL"))
    raise AdaloraqatError(
        f"{named} {text[:_SHOWN]} is not {form}: give a pixel of the film, and 1 if it lies inside the "
        "target or 0 if outside."
    )


def as_arguments(points: Sequence[Point]) -> dict[str, Any]:
    """Return what `Segmenter.segment` takes for points; nothing for none."""
    if not points:
        return {}
    return {"points": [point[:2] for point in points], "labels": [point[2] for point in points]}


def _checked_points(points: ArrayLike | None, shape: tuple[int, int]) -> tuple[tuple[float, float], ...]:
    given = _numbers([] if points is None else points, "points", "(x, y) pairs in pixels of the film")
    if given.size == 0:
        return ()
    if given.ndim != 2 or given.shape[1] != 2:
        raise FilmError("The points are not a list of (x, y) pairs: give them as [(x, y), ...].")
    height, width = shape
    for x, y in given:
        if not (0 <= x < width and 0 <= y < height):
            raise FilmError(
                f"The point ({x:g}, {y:g}) lies outside the film of {width} x {height} pixels: give pixels "
                "of the original film, counted from 0."
            )
    return tuple((float(x), float(y)) for x, y in given)


def _checked_labels(labels: ArrayLike | None, points: int) -> tuple[int, ...]:
    if labels is None:
        return (1,) * points
    given = _numbers(labels, "labels", "0 or 1 each")
    if points == 0 and given.size:
        raise FilmError("Labels were given without points: give both, or neither.")
    if given.shape != (points,):
        raise FilmError(f"There are {points} points but {given.size} labels: give one label per point.")
    for label in given:
        if label not in LABELS:
            raise FilmError(
                f"The label {label:g} is neither 0 nor 1: give 1 for a point inside the target, 0 for one "
                "outside."
            )
    return tuple(int(label) for label in given)


def _numbers(values: ArrayLike, what: str, wanted: str) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FilmError(f"The {what} are not numbers: give {wanted}.") from error


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(str(side) for side in reversed(shape))
