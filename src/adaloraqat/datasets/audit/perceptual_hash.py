"""256-bit hashes of small pictures: close for copies of one film, far for two films of like patients.

A film is compared by its thumbnail, 64 x 64 pixels. All chest films look alike at a glance, so the thumbnail
is first normalised in a sliding window, which leaves ribs, vessels and outlines and takes away exposure; the
hash is the signs of its 16 x 16 lowest cosine coefficients (DCT-II). Two properties of the cosine basis save
hashing again: a mirrored film flips the signs of the odd columns, and a negative flips all signs.

Which films may be copies (`find_candidates`): all pairs of hashes, a block at a time, through a sieve of
their first words. 21,000 films make 440 million ordered pairs, each compared in 19 ways (16 cuts, 3 ways to
turn a film): blocks of NumPy's population counts take seconds where a loop would take days.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.progress import Progress, no_progress

SIDE = 64
_WORKING = 256  # px; the film is first averaged down to about this, so that the rest costs nothing
_PLAIN = 0.04  # a row or column whose grey values differ by less, of the film's range, is an empty border
_MOST_TRIMMED = 0.3  # of a side: more than that is not a border

BITS = 256
Hashes = NDArray[np.uint64]

_GRID = 32
_COEFFICIENTS = 16
_WINDOW = 9
_FLAT = 4.0  # grey levels of 255 below which a window is noise, not structure
_CUT = 4  # of 64: a copy cut by up to about a tenth of a side is near one of the cuts by 0 or 4

CUTS = 16
TURNS = ((False, False), (True, False), (False, True), (True, True))  # left-right, up-down
NEAR_BITS = 64  # of 256; copies that were cut, turned by 2 degrees or equalised stay below
_SIEVE_BITS = 20  # of the first 64
_KEPT = 3  # nearest candidates a film, and all that are as near as only copies are:
SURE_BITS = 30
_BLOCK = 128
_HASHED_AT_ONCE = 512


def thumbnail(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (64, 64) uint8 of (H, W) `pixels` in [0, 1]: empty borders off, sides made equal, stretched.

    Sides are made equal because copies in public sets are often squeezed into a square; the stretch is
    between the percentiles 1 and 99, so that brightness and contrast do not count.
    A uniform film gives zeros.
    """
    small = _trimmed(reduced(pixels, _WORKING))
    sampled = np.asarray(
        Image.fromarray(small).resize(
            (SIDE, SIDE), Image.Resampling.BOX if min(small.shape) >= SIDE else Image.Resampling.BILINEAR
        )
    )
    low, high = np.percentile(sampled, (1, 99))
    if high - low < 1e-4:
        return np.zeros((SIDE, SIDE), np.uint8)
    return (np.clip((sampled - low) / (high - low), 0, 1) * 255 + 0.5).astype(np.uint8)


def reduced(pixels: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Return (h, w) float32 of (H, W) `pixels`, averaged so that the longest side is near `side`."""
    factor = max(1, max(pixels.shape) // side)
    picture = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    return np.asarray(picture.reduce(factor) if factor > 1 else picture, dtype=np.float32)


def _trimmed(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    range_ = float(np.subtract(*np.percentile(pixels, (99, 1))))
    if range_ <= 0:
        return pixels
    rows, columns = (
        np.subtract(*np.percentile(pixels, (95, 5), axis=axis)) < _PLAIN * range_ for axis in (1, 0)
    )
    (top, bottom), (left, right) = _inner(rows), _inner(columns)
    return pixels[top:bottom, left:right]


def _inner(plain: NDArray[np.bool_]) -> tuple[int, int]:
    """Return where a side's content starts and ends; the whole side where the borders would be too wide."""
    content = np.flatnonzero(~plain)
    if not content.size:
        return 0, len(plain)
    most = _MOST_TRIMMED * len(plain)
    start, end = int(content[0]), int(content[-1]) + 1
    return (start if start <= most else 0), (end if len(plain) - end <= most else len(plain))


def local_contrast(pictures: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Return (N, h, w) pictures less the mean of the window round each pixel, over its deviation."""
    centred: NDArray[np.float32] = (pictures - np.float32(128)).astype(
        np.float32
    )  # keeps the squares small, for the sake of single precision
    mean = _box(centred, window)
    variance = np.maximum(_box(centred * centred, window) - mean * mean, 0)
    return ((centred - mean) / (np.sqrt(variance) + _FLAT)).astype(np.float32)


def hashes(thumbnails: NDArray[np.uint8], cut: int = 0) -> Hashes:
    """Return (N, 4) uint64 hashes of (N, 64, 64) thumbnails, of which `cut` (0 to 15) takes edges off.

    The bits of `cut` say which edges lose a sixteenth: 1 left, 2 right, 4 top, 8 bottom.
    """
    rows, columns = _sampling(cut >> 2), _sampling(cut & 3)
    small = rows @ thumbnails.astype(np.float32) @ columns.T  # (N, 32, 32)
    structure = local_contrast(small, _WINDOW)
    signs = (_COSINES @ structure @ _COSINES.T) > 0  # (N, 16, 16)
    bits = signs.reshape(len(signs), BITS)[:, _ORDER]
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(np.uint64)


def flipped(values: Hashes, left_right: bool, up_down: bool) -> Hashes:
    """Return the (N, 4) hashes that the films would have if they were inverted."""
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


class Candidate(NamedTuple):
    """Films number `a` and `b` (a < b) may be one.

    `turn` is the index into `TURNS` that lays b on a, plus 4 where b is besides the negative of a; `bits` is
    the distance of their hashes.
    """

    a: int
    b: int
    turn: int
    bits: int


def find_candidates(
    thumbnails: NDArray[np.uint8],
    progress: Progress = no_progress,
) -> list[Candidate]:
    """Return the pairs of (N, 64, 64) thumbnails that are near enough to be looked at closely.

    `progress` shows how many blocks of films are done.
    """
    count = len(thumbnails)
    cuts = [np.zeros((count, 4), np.uint64) for _ in range(CUTS)]
    for start in range(0, count, _HASHED_AT_ONCE):
        part = slice(start, start + _HASHED_AT_ONCE)
        for cut in range(CUTS):
            cuts[cut][part] = hashes(thumbnails[part], cut)
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for start in progress(range(0, count, _BLOCK), "blocks of films compared"):
        for a, b, turn, bits in _block(cuts, start):
            key = (a, b) if a < b else (b, a)
            if key not in best or bits < best[key][0]:
                best[key] = (bits, turn)
    return [Candidate(a, b, turn, bits) for (a, b), (bits, turn) in sorted(best.items())]


def _block(cuts: Sequence[Hashes], start: int) -> list[tuple[int, int, int, int]]:
    """Return (a, b, turn, bits) for the films a of one block: the nearest few, and all very near ones."""
    whole = cuts[0]
    query = whole[start : start + _BLOCK]
    found = [_near(query, other, start, 0) for other in cuts]
    found += [
        _near(flipped(query, *turn), whole, start, number) for number, turn in enumerate(TURNS) if number
    ]
    rows = np.concatenate(found)  # (n, 4): a, b, turn, bits
    rows = rows[np.lexsort((rows[:, 2], rows[:, 3], rows[:, 0]))]
    kept = []
    seen: dict[int, set[int]] = {}
    for a, b, turn, bits in rows.tolist():
        others = seen.setdefault(a, set())
        if b not in others and (len(others) < _KEPT or bits <= SURE_BITS):
            others.add(b)
            kept.append((a, b, turn, bits))
    return kept


def _near(query: Hashes, other: Hashes, start: int, turn: int) -> NDArray[np.int64]:
    first = np.bitwise_count(query[:, None, 0] ^ other[None, :, 0])
    # a negative has every bit the other way round, so very far is near too
    rows, columns = np.nonzero((first <= _SIEVE_BITS) | (first >= 64 - _SIEVE_BITS))
    keep = rows + start != columns
    rows, columns = rows[keep], columns[keep]
    bits = distances(query[rows], other[columns])
    turns = turn + len(TURNS) * (bits > BITS // 2)
    bits = np.minimum(bits, BITS - bits)
    found = np.stack([rows + start, columns, turns, bits], axis=1)
    return found[bits <= NEAR_BITS]
