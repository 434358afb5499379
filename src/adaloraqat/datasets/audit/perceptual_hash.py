"""256-bit hashes of thumbnails: close for copies of one film, far for two films of like patients.

All chest films look alike at a glance, so the thumbnail is first normalised in a sliding window, which leaves
ribs, vessels and outlines and takes away exposure; the hash is the signs of its 16 x 16 lowest cosine
coefficients (DCT-II). Two properties of the cosine basis save hashing again: a mirrored film flips the signs
of the odd columns, and a negative flips all signs.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.audit.thumbnail import SIDE

BITS = 256
Hashes = NDArray[np.uint64]

_GRID = 32
_COEFFICIENTS = 16
_WINDOW = 9
_FLAT = 4.0  # grey levels of 255 below which a window is noise, not structure
_CUT = 4  # of 64: a copy cut by up to about a tenth of a side is near one of the cuts by 0 or 4


def local_contrast(pictures: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Return (N, h, w) pictures less the mean of the window round each pixel, over its deviation."""
    centred: NDArray[np.float32] = (pictures - np.float32(128)).astype(
        np.float32
    )  # keeps the squares small, for the sake of single precision
    mean = _box(centred, window)
    variance = np.maximum(_box(centred * centred, window) - mean * mean, 0)
    result: NDArray[np.float32] = ((centred - mean) / (np.sqrt(variance) + _FLAT)).astype(np.float32)
    return result


def hashes(thumbnails: NDArray[np.uint8], cut: int = 0) -> Hashes:
    """Return (N, 4) uint64 hashes of (N, 64, 64) thumbnails, of which `cut` (0 to 15) takes edges off.

    The bits of `cut` say which edges lose a sixteenth: 1 left, 2 right, 4 top, 8 bottom.
    """
    rows, columns = _sampling(cut >> 2), _sampling(cut & 3)
    small = rows @ thumbnails.astype(np.float32) @ columns.T  # (N, 32, 32)
    structure = local_contrast(small, _WINDOW)
    signs = (_COSINES @ structure @ _COSINES.T) > 0  # (N, 16, 16)
    bits = signs.reshape(len(signs), BITS)[:, _ORDER]
    packed: Hashes = np.ascontiguousarray(np.packbits(bits, axis=1)).view(np.uint64)
    return packed


def flipped(values: Hashes, left_right: bool, up_down: bool) -> Hashes:
    """Return the (N, 4) hashes that the films would have if they were turned over."""
    mask = np.zeros((_COEFFICIENTS, _COEFFICIENTS), bool)
    odd = np.arange(_COEFFICIENTS) % 2 == 1
    if left_right:
        mask ^= odd[None, :]
    if up_down:
        mask ^= odd[:, None]
    return values ^ np.packbits(mask.reshape(BITS)[_ORDER]).view(np.uint64)


def distances(first: Hashes, second: Hashes) -> NDArray[np.int64]:
    """Return the number of differing bits of hashes (..., 4) and (..., 4), 0 to 256."""
    return np.bitwise_count(first ^ second).sum(axis=-1, dtype=np.int64)


def _box(pictures: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Return the mean over a square window of odd side; beyond the edge its pixels go on."""
    rows, columns = (_averages(side, window) for side in pictures.shape[1:])
    return np.asarray(rows @ pictures @ columns.T, dtype=np.float32)


@cache
def _averages(side: int, window: int) -> NDArray[np.float32]:
    """Return (side, side): each row the weights of a sliding mean along a line."""
    places = np.clip(np.arange(side)[:, None] + np.arange(window) - window // 2, 0, side - 1)
    weights = np.zeros((side, side), np.float32)
    np.add.at(weights, (np.arange(side)[:, None], places), 1 / window)
    return weights


def _sampling(edges: int) -> NDArray[np.float32]:
    """Return (32, 64): area averages of a line of 64, less 4 at its start (bit 0) or end (bit 1)."""
    start, end = _CUT * (edges & 1), SIDE - _CUT * (edges >> 1)
    borders = np.linspace(start, end, _GRID + 1)
    pixels = np.arange(SIDE)
    overlap = np.minimum(borders[1:, None], pixels + 1) - np.maximum(borders[:-1, None], pixels)
    weights = np.maximum(overlap, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


_COSINES = np.cos(np.pi * (np.arange(_GRID) + 0.5) * np.arange(_COEFFICIENTS)[:, None] / _GRID).astype(
    np.float32
)
# lowest frequencies first: the first of the four words is then the steadiest, and serves as a sieve
_ORDER = np.argsort(np.add.outer(np.arange(_COEFFICIENTS), np.arange(_COEFFICIENTS)).ravel(), kind="stable")
