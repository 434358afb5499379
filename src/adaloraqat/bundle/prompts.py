"""SAM's prompts (arXiv 2304.02643), and a bundle's graphs, asked by them in pixels of the film.

A film is encoded once and decoded with any number of prompts: boxes, points with labels, and the mask of an
earlier answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from adaloraqat.bundle.components import remove_small_components
from adaloraqat.bundle.engine import Engine, FloatArray
from adaloraqat.bundle.format import BOX_LABELS, NO_POINT, Bundle
from adaloraqat.bundle.segmentation import Segmentation
from adaloraqat.errors import AdaloraqatError, FilmError
from adaloraqat.radiograph import Box, Frame
from adaloraqat.radiograph.film import size_text

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

BOXES_AT_ONCE = 8
"""Boxes in one call of the decoder: its memory grows with them, its time a box hardly falls."""

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
        checked = None if box is None else Box.given(box, shape)
        pairs = _checked_points(points, shape)
        kinds = _checked_labels(labels, len(pairs))
        if isinstance(mask, np.ndarray) and mask.dtype.kind in "bui" and mask.shape != shape:
            raise FilmError(
                f"The mask prompt has {size_text(mask.shape)} pixels and the film {size_text(shape)}: give a "
                "mask on the film's own grid."
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


@dataclass(frozen=True)
class Embedded:
    """A film that was encoded once, to be decoded with any number of boxes.

    Attributes:
        embedding: (1, D, g, g) float32.
        frame: where the film lies on the model's square.
    """

    embedding: FloatArray = field(repr=False)
    frame: Frame


class PromptedModel:
    """A bundle and the engine that runs it; answers are logits over the model's square."""

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self.bundle = bundle
        self.engine = engine

    def embed(self, pixels: NDArray[Any], aspect: float = 1.0) -> Embedded:
        """Preprocess and encode (H, W), or (H, W, 3) coloured, pixels in [0, 1].

        They are `aspect` times as high as wide.

        Raises:
            BundleError: the encoder does not run on what the bundle's preprocessing gives.
        """
        image, frame = self.bundle.preprocessing(pixels, aspect)  # (C, S, S)
        return Embedded(self.engine.encode(image), frame)

    def decode(self, embedded: Embedded, boxes: Sequence[Box]) -> Iterator[tuple[FloatArray, float | None]]:
        """Give, for each box (on the film, already checked), logits (4g, 4g) over the square, and quality.

        Boxes are decoded in blocks of `BOXES_AT_ONCE`, when they are asked for.
        """
        for start in range(0, len(boxes), BOXES_AT_ONCE):
            prompts = [embedded.frame.box_to_model(box) for box in boxes[start : start + BOXES_AT_ONCE]]
            logits, quality = self.engine.decode(embedded.embedding, np.stack(prompts))  # (n, 4g, 4g), (n,)
            for own, value in zip(logits, quality, strict=True):
                yield remove_small_components(own, self.bundle.smallest_part), self._known(value)

    def union(self, embedded: Embedded, prompts: Sequence[Box]) -> tuple[FloatArray, float | None]:
        """Return logits (4g, 4g) of what any of the prompts encloses, and the lowest of their qualities."""
        logits, qualities = zip(*self.decode(embedded, prompts), strict=True)
        known = [quality for quality in qualities if quality is not None]
        return np.maximum.reduce(logits), min(known) if known else None

    def answer(self, embedded: Embedded, asked: Prompts) -> tuple[FloatArray, float | None]:
        """Return logits (4g, 4g) over the square and quality for what an encoded film is asked with.

        Raises:
            FilmError: the mask prompt does not fit.
            BundleError: the graphs do not run.
        """
        embedding, frame = embedded.embedding, embedded.frame
        mask = asked.mask_logits(frame, 4 * embedding.shape[-1])
        if mask is not None:
            embedding = embedding + self.engine.embed_mask(mask)
        logits, quality = self.engine.decode(embedding, *asked.tokens(frame))
        return remove_small_components(logits[0], self.bundle.smallest_part), self._known(quality[0])

    def _known(self, quality: Any) -> float | None:
        """Return a predicted IoU within [0, 1]; None where the model was not trained to predict it."""
        trained = self.bundle.prompt.quality_trained and np.isfinite(quality)
        return float(np.clip(quality, 0, 1)) if trained else None


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
