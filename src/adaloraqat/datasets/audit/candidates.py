"""Which films may be copies: all pairs of hashes, a block at a time, through a sieve of their first words.

21,000 films make 440 million ordered pairs, each compared in 19 ways (16 cuts, 3 ways to turn a film): blocks
of NumPy's population counts take seconds where a loop would take days.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.audit.perceptual_hash import BITS, Hashes, distances, flipped, hashes

CUTS = 16
TURNS = ((False, False), (True, False), (False, True), (True, True))  # left-right, up-down
NEAR_BITS = 64  # of 256; copies that were cut, turned by 2 degrees or equalised stay below
_SIEVE_BITS = 20  # of the first 64
_KEPT = 3  # nearest candidates a film, and all that are as near as only copies are:
SURE_BITS = 30
_BLOCK = 128
_HASHED_AT_ONCE = 512


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
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> list[Candidate]:
    """Return the pairs of (N, 64, 64) thumbnails that are near enough to be looked at closely.

    `track` may wrap the blocks of films to show progress.
    """
    count = len(thumbnails)
    cuts = [np.zeros((count, 4), np.uint64) for _ in range(CUTS)]
    for start in range(0, count, _HASHED_AT_ONCE):
        part = slice(start, start + _HASHED_AT_ONCE)
        for cut in range(CUTS):
            cuts[cut][part] = hashes(thumbnails[part], cut)
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for start in track(range(0, count, _BLOCK)):
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
