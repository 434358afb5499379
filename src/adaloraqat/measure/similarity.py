"""Structural similarity (SSIM) of a predicted against the true mask, as number and as map.

Wang et al. (2004), with the Gaussian window of that paper (σ = 1.5 pixels, 11 x 11) and range 1. Both images
are the masks themselves, 0 and 1, on the film's grid (the paper's heat maps, its section on results, show the
same); the film's grey values do not enter. The number is the mean of the map over the whole film, edges
included, where the map reflects the masks. Far from both outlines the map is 1, so the number lies close to 1
on every film and depends on how much empty film surrounds the lungs: read it beside Dice, never alone.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.errors import FilmError
from adaloraqat.measure.overlap import Mask, check_pair

_SIGMA = 1.5
_RADIUS = 5  # 3.5 sigma, rounded
_WINDOW = 2 * _RADIUS + 1


def ssim(prediction: Mask, truth: Mask) -> float:
    """Mean structural similarity of two (H, W) bool masks, at most 1 (equal masks).

    Raises:
        FilmError: the masks cannot be compared, or are smaller than the window of 11 pixels.

    """
    check_pair(prediction, truth)
    _check_side(truth.shape)
    differs = prediction ^ truth
    if not differs.any():
        return 1.0
    # where the masks agree all over the window the map is exactly 1: only the rest needs computing
    rows, inner_rows = _reach(np.any(differs, axis=1))
    columns, inner_columns = _reach(np.any(differs, axis=0))
    part = _map(prediction[rows, columns], truth[rows, columns])[inner_rows, inner_columns]
    return float(1.0 + (part.sum(dtype=np.float64) - part.size) / truth.size)


def ssim_map(prediction: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float32]:
    """Local structural similarity (H, W) float32 in [-1, 1] of two (H, W) masks or probabilities in [0, 1].

    Raises:
        FilmError: the two differ in shape, or are smaller than the window of 11 pixels.

    """
    if prediction.ndim != 2 or prediction.shape != truth.shape:
        raise FilmError("SSIM compares two masks (H, W) of one size: bring both to the film's own grid.")
    _check_side(truth.shape)
    return _map(prediction, truth)


def _map(prediction: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float32]:
    from skimage.metrics import structural_similarity

    _, local = structural_similarity(
        prediction.astype(np.float32),
        truth.astype(np.float32),
        data_range=1.0,
        gaussian_weights=True,
        sigma=_SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    return np.asarray(local, dtype=np.float32)


def _reach(differs: NDArray[Any]) -> tuple[slice, slice]:
    """Return the slice to compute and, within it, the slice whose values the film's edges alone shape."""
    places = np.flatnonzero(differs)
    first, last = max(0, int(places[0]) - _RADIUS), min(len(differs), int(places[-1]) + 1 + _RADIUS)
    from_, to = max(0, first - _RADIUS), min(len(differs), last + _RADIUS)  # at least a window's side
    return slice(from_, to), slice(first - from_, last - from_)


def _check_side(shape: tuple[int, ...]) -> None:
    if min(shape) < _WINDOW:
        raise FilmError(f"SSIM needs masks of at least {_WINDOW} pixels on each side: use larger films.")
