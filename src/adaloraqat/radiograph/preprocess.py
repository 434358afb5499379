"""From the film to the network's input and back: one description for training, bundle and Segmenter."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import MAX_PIXELS, grey, size_text
from adaloraqat.radiograph.geometry import Box

_MOST_SIDE = math.isqrt(MAX_PIXELS)
_MOST_CHANNELS = 16
_MOST_FACTOR = 1e30  # far inside what float32 can hold
_SMALLEST_RANGE = 1e-8  # of a film of one grey, as in the published code
_SAMPLE = 1 << 16  # pixels that a percentile is read from; its error in rank is about 0.02 %


@dataclass(frozen=True)
class Frame:
    """Where a film lies on the model's square: at the top left, padded right and bottom.

    Attributes:
        original: (H, W) of the film.
        resized: (h, w) of the film on the model's square, in model pixels; the longer one is `image_size`.
        image_size: S, the side of the square.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    image_size: int

    @classmethod
    def of(cls, original: tuple[int, int], image_size: int, aspect: float = 1.0) -> "Frame":
        """Return the frame of a film of (H, W) pixels on a square of `image_size`.

        Pixels on the square are square: where the film's are `aspect` times as high as wide, its two sides
        are resized by different factors, and all that leads back (`logits_to_original`, boxes) undoes that.
        """
        sides = original[0] * aspect, float(original[1])  # in widths of a pixel
        scale = image_size / max(sides)
        height, width = (max(1, round(side * scale)) for side in sides)
        return cls((int(original[0]), int(original[1])), (height, width), image_size)

    def box_to_model(self, box: Box) -> NDArray[np.float32]:
        """Return (4,) x_min, y_min, x_max, y_max in model pixels of a box on the original grid."""
        return (np.array(box, dtype=np.float64) * self._scale()).astype(np.float32)

    def points_to_model(self, points: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
        """Return (P, 2) x, y in model pixels of points (x, y) on the original grid."""
        return (np.array(points, dtype=np.float64).reshape(-1, 2) * self._scale()[:2]).astype(np.float32)

    def box_to_original(self, box: NDArray[Any] | Box) -> Box:
        """Return, on the original grid, a box given as (4,) in model pixels."""
        return Box(*(float(side) for side in np.asarray(box, dtype=np.float64) / self._scale()))

    def mask_to_model(self, mask: NDArray[Any]) -> NDArray[np.float32]:
        """Return (S, S) soft mask in [0, 1] of (H, W) `mask`: how much of each model pixel it covers.

        Raises:
            FilmError: the mask is not on the original grid.
        """
        if mask.shape != self.original:
            raise FilmError(
                f"The mask has {size_text(mask.shape)} pixels and its film {size_text(self.original)}: "
                "give a mask on the film's own grid."
            )
        return np.clip(self._place(mask.astype(np.float32)), 0.0, 1.0)

    def logits_to_original(self, logits: NDArray[Any]) -> NDArray[np.float32]:
        """Return (H, W) logits on the original grid of (n, n) logits whose grid covers the S x S square.

        One bilinear resize from the (fractional) part of the grid that the film covers.
        """
        height, width = self.original
        return self._resized_part(logits, 0, 0, width, height)

    def mask_to_original(self, logits: NDArray[Any]) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
        """Return where on the original grid (n, n) logits are positive: rows and columns, and bool in them.

        The same mask as `logits_to_original(logits) > 0`, up to rounding, without the work for the rest of
        the film: with a thousand small objects that is most of the time.
        """
        rows, columns = (np.flatnonzero((logits > 0).any(axis=axis)) for axis in (1, 0))
        if not rows.size:
            return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.bool_)
        height, width = self.original
        cell = self.image_size / logits.shape[0] / self._scale()  # original pixels a logit pixel, x and y
        # a positive value reaches one logit pixel beyond its own; a large reduction averages over more
        reach = 1 + max(1.0, float(1 / cell.min()))
        left, right = (float(at) * cell[0] for at in (columns[0] - reach, columns[-1] + 1 + reach))
        top, bottom = (float(at) * cell[1] for at in (rows[0] - reach, rows[-1] + 1 + reach))
        x, y = (max(0, math.floor(left)), max(0, math.floor(top)))
        x_end, y_end = (min(width, math.ceil(right)), min(height, math.ceil(bottom)))
        if x >= x_end or y >= y_end:
            return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.bool_)  # in the padding
        return (slice(y, y_end), slice(x, x_end)), self._resized_part(logits, x, y, x_end, y_end) > 0

    def _resized_part(
        self, logits: NDArray[Any], x: int, y: int, x_end: int, y_end: int
    ) -> NDArray[np.float32]:
        """Logits on the original pixels from (x, y) to (x_end, y_end), the end exclusive."""
        height, width = self.original
        grid = logits.shape[0] / self.image_size  # logit pixels per model pixel
        across, down = self.resized[1] * grid, self.resized[0] * grid  # of the grid, what the film covers
        part = (x / width * across, y / height * down, x_end / width * across, y_end / height * down)
        image = Image.fromarray(np.ascontiguousarray(logits, dtype=np.float32))
        return np.array(image.resize((x_end - x, y_end - y), Image.Resampling.BILINEAR, box=part))

    def valid(self) -> NDArray[np.float32]:
        """Return (S, S): 1 where the film lies, 0 in the padding."""
        inside = np.zeros((self.image_size, self.image_size), np.float32)
        inside[: self.resized[0], : self.resized[1]] = 1
        return inside

    def _scale(self) -> NDArray[np.float64]:
        x, y = self.resized[1] / self.original[1], self.resized[0] / self.original[0]
        return np.array([x, y, x, y])

    def _place(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resize (H, W) with antialiasing and lay it on a square of zeros, (S, S)."""
        height, width = self.resized
        square = np.zeros((self.image_size, self.image_size), np.float32)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        square[:height, :width] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        return square


PERCENTILES, MIN_MAX, FIXED = "percentiles", "min-max", "fixed"
GREY_RANGES = (PERCENTILES, MIN_MAX, FIXED)
"""What of a film becomes 0 and 1: two percentiles, the resized film's extremes, or the file's own 0..255."""


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a film before the network sees it.

    Grey values to [0, 1], longest side resized to `image_size` (aspect kept, antialiased bilinear),
    normalised by `mean` and `std`, padded with 0 right and bottom. The defaults suit a network trained from
    scratch; what published weights take stands with them (`models.published`).

    Attributes:
        image_size: S, the side of the model's square in px.
        channels: C; a grey film is repeated.
        percentile_low: percentile (0 to 100) of the film that becomes 0; with `percentiles` only.
        percentile_high: percentile (0 to 100) of the film that becomes 1; with `percentiles` only.
        mean: per channel, or one for all, in units of the film in [0, 1].
        std: as `mean`, greater than 0.
        grey_range: one of `GREY_RANGES`. `percentiles`: clipped between the two. `min-max`: from the smallest
            to the largest value of the resized film, as MedSAM and LiteMedSAM take it. `fixed`: the film's
            values as they are, 1 being the 255 of an 8-bit file, as SAM takes it.

    Raises:
        FilmError: a value out of range.
    """

    image_size: int = 256
    channels: int = 1
    percentile_low: float = 0.5
    percentile_high: float = 99.5
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    grey_range: str = PERCENTILES

    def __post_init__(self) -> None:
        """Check the values; lists (as JSON gives them) become tuples."""
        self._check_kinds()
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        problem = self._problem()
        if problem:
            raise FilmError(f"The preprocessing is not usable: {problem}.")

    def __call__(self, pixels: NDArray[Any], aspect: float = 1.0) -> tuple[NDArray[np.float32], Frame]:
        """Return the network's input (C, S, S) float32 of `pixels`, and where the film lies in it.

        `pixels` are (H, W), or (H, W, 3) colours: a network of three channels sees them, another their grey.
        They are `aspect` times as high as wide (`Film.aspect`); those that the network sees are square.
        """
        if pixels.ndim == 3 and self.channels != 3:
            pixels = grey(pixels)
        square, frame = self.resize(pixels, aspect)
        return self.normalise(square, frame), frame

    def resize(self, pixels: NDArray[Any], aspect: float = 1.0) -> tuple[NDArray[np.float32], Frame]:
        """Return (S, S) float32 in [0, 1], 0 in the padding, before normalisation, and its frame.

        Of (H, W, 3) colours (3, S, S), stretched together, so that they keep their hue. `aspect` is as for
        a call.
        """
        frame = Frame.of((pixels.shape[0], pixels.shape[1]), self.image_size, aspect)
        scaled = self.stretch(pixels) if self.grey_range == PERCENTILES else np.asarray(pixels, np.float32)
        if pixels.ndim == 2:
            square = frame._place(scaled)
        else:
            square = np.stack([frame._place(channel) for channel in np.moveaxis(scaled, 2, 0)])
        if self.grey_range == MIN_MAX:
            film = square[..., : frame.resized[0], : frame.resized[1]]
            film -= film.min()
            film /= max(float(film.max()), _SMALLEST_RANGE)
        return square, frame

    def stretch(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return float32 of the pixels' shape: between the two percentiles, clipped to [0, 1]; else zeros."""
        low, high = _percentiles(pixels, self.percentile_low, self.percentile_high)
        if not high > low:
            low, high = float(pixels.min()), float(pixels.max())  # almost constant: what is left of its range
        if not high > low:
            return np.zeros(pixels.shape, np.float32)
        stretched = np.clip(pixels, low, high).astype(np.float32, copy=False)
        stretched -= np.float32(low)
        stretched /= np.float32(high - low)
        return np.clip(stretched, 0.0, 1.0, out=stretched)

    def normalise(self, image: NDArray[np.float32], frame: Frame | None = None) -> NDArray[np.float32]:
        """Return (C, S, S) float32 of a film in [0, 1].

        Args:
            image: (S, S), or (3, S, S), as `resize` gives it.
            frame: where the film lies; outside it the result is 0. None: no padding.
        """
        mean = np.array(self.mean, dtype=np.float32)[:, None, None]
        std = np.array(self.std, dtype=np.float32)[:, None, None]
        normalised = (np.broadcast_to(image, (self.channels, *image.shape[-2:])) - mean) / std  # (C, S, S)
        if frame is not None:
            normalised[:, frame.resized[0] :] = 0
            normalised[:, :, frame.resized[1] :] = 0
        return normalised

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `from_dict` reads them back. A usual `grey_range` is left out."""
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        if self.grey_range == PERCENTILES:
            del values["grey_range"]  # what was written before there was a choice reads the same
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Return the preprocessing that `to_dict` described.

        Raises:
            FilmError: a key is unknown or missing, or a value is not usable.
        """
        fields = set(cls.__dataclass_fields__)
        if set(values) | {"grey_range"} != fields:
            names = ", ".join(sorted(set(values) ^ fields))
            raise FilmError(
                f"The preprocessing has unknown or missing keys ({names}): it needs {sorted(fields)}."
            )
        return cls(**values)

    def _check_kinds(self) -> None:
        """Refuse what is not a number, or no sequence of them: JSON may hold anything in their place."""
        whole = (self.image_size, self.channels)
        lists = (self.mean, self.std)
        if (
            not all(_is_number(value, Integral) for value in whole)
            or not all(_is_number(value, Real) for value in (self.percentile_low, self.percentile_high))
            or not all(isinstance(values, Sequence) for values in lists)
            or not all(_is_number(value, Real) for values in lists for value in values)
        ):
            raise FilmError(
                "The preprocessing holds a value of the wrong kind: image_size and channels are whole "
                "numbers, percentiles numbers, mean and std lists of numbers."
            )

    def _problem(self) -> str | None:
        if not 1 <= self.image_size <= _MOST_SIDE:
            return f"image_size must be 1 to {_MOST_SIDE}"
        if not 1 <= self.channels <= _MOST_CHANNELS:
            return f"channels must be 1 to {_MOST_CHANNELS}"
        if self.grey_range not in GREY_RANGES:
            return f"grey_range must be one of {', '.join(GREY_RANGES)}"
        if not 0 <= self.percentile_low < self.percentile_high <= 100:
            return "percentiles must rise within 0 to 100"
        if {len(self.mean), len(self.std)} - {1, self.channels}:
            return "mean and std need one value, or one per channel"
        mean, std = (np.array(values, dtype=np.float64) for values in (self.mean, self.std))
        if not (np.abs(mean) < _MOST_FACTOR).all():
            return "mean must be finite"
        if not ((std > 1 / _MOST_FACTOR) & (std < _MOST_FACTOR)).all():
            return "std must be finite and greater than 0"
        return None


def _is_number(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _percentiles(pixels: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Return two percentiles of (H, W[, 3]), read from a regular subgrid (at least `_SAMPLE` values)."""
    step = max(1, math.isqrt(pixels.size // _SAMPLE))
    values = np.percentile(pixels[::step, ::step], (low, high))
    return float(values[0]), float(values[1])
