"""Which bits of a DICOM film's words are its values, and whether they are signed, where the header is wrong.

A film is smooth. Read with too few bits, or with the wrong sign, it jumps through the whole range wherever
its values pass an end of it; another reading without these jumps is the film. A shutter's edge is a jump,
too, but one that stands alone, and beside the one value of the shutter; the edge of letters written into the
pixels is one beside the least or the greatest value.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

_ROWS = 256  # that are looked at
_OFTEN = 0.05  # of the pixels: a value that as many have is a shutter's, or the detector's end
_SHUTTERS = 2  # whose edges a row passes
_LEAST_JUMPS = 0.25  # in a row, besides these; ...
_TIMES = 2  # ... and as many times those of the other reading

_NOTICE = "The header's BitsStored or PixelRepresentation does not fit the pixels and was ignored."


def own_bits(dataset: Dataset, values: NDArray[Any], notices: list[str]) -> NDArray[Any]:
    """Return decoded (H, W) values without foreign bits: those above BitsStored, a sign bit that is not one.

    What the header says, with the sign that the stream has, is taken unless another reading is the film.
    Neither colours nor the numbers of a palette are changed.

    Args:
        dataset: the file, with BitsStored.
        values: as decoded, with all bits.
        notices: gets one where the header was wrong.
    """
    stored = int(dataset.get("BitsStored") or 0)
    if values.ndim != 2 or values.dtype.kind not in "ui" or not 0 < stored < 32:
        return values
    told = best = min(stored, 8 * values.dtype.itemsize), values.dtype.kind == "i"
    if dataset.get("PhotometricInterpretation") != "PALETTE COLOR":
        rows = values[:: -(-len(values) // _ROWS)]
        drawn = _often(rows) | _is_end(_read(rows, *told))
        steps = ~(drawn[:, 1:] | drawn[:, :-1])
        for other in _others(rows, told):
            if _is_better(rows, other, best, steps):
                best = other
    if best != told:
        notices.append(_NOTICE)
    return _narrowed(_read(values, *best))


def _others(rows: NDArray[Any], told: tuple[int, bool]) -> list[tuple[int, bool]]:
    """Return the other readings, (bits, signed): of the bits that the header tells, that are used, of all."""
    bits, signed = told
    word = 8 * rows.dtype.itemsize
    used = (int(np.bitwise_or.reduce(rows, axis=None)) & ((1 << word) - 1)).bit_length()
    wider = sorted({used, word}) if used > bits else []
    return [(bits, not signed), *((wide, False) for wide in wider), *((wide, True) for wide in wider)]


def _is_better(
    rows: NDArray[Any], other: tuple[int, bool], best: tuple[int, bool], steps: NDArray[np.bool_]
) -> bool:
    """Return whether `best` jumps where `other` does not, far more often than the reverse."""
    mine, theirs = (np.abs(np.diff(_read(rows, *way).astype(np.int64), axis=1)) for way in (best, other))
    jumps = np.count_nonzero(steps & (theirs < mine) & (theirs < 1 << best[0] - 1), axis=1)
    found = int(np.maximum(jumps - _SHUTTERS, 0).sum())
    least = max(1.0, _LEAST_JUMPS * len(rows), _TIMES * float(np.count_nonzero(steps & (theirs > mine))))
    return found >= least


def _often(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a value is one of those that many pixels have."""
    if rows.dtype.itemsize > 2:
        return np.zeros(rows.shape, np.bool_)
    words = rows.view(f"u{rows.dtype.itemsize}")
    often: NDArray[np.bool_] = (np.bincount(words.ravel()) >= _OFTEN * rows.size)[words]
    return often


def _is_end(numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where the least or the greatest number is."""
    ends: NDArray[np.bool_] = (numbers == numbers.min()) | (numbers == numbers.max())
    return ends


def _read(values: NDArray[Any], bits: int, signed: bool) -> NDArray[Any]:
    """Return the numbers in the lowest bits of each word."""
    low, high = int(values.min()), int(values.max())
    if (-(1 << bits - 1) <= low and high < 1 << bits - 1) if signed else (low >= 0 and high < 1 << bits):
        return values
    numbers = values.astype(np.int64) & ((1 << bits) - 1)
    if signed:
        return (numbers - ((numbers >> bits - 1) << bits)).astype(np.int32)
    return numbers.astype(values.dtype if values.dtype.kind == "u" else np.uint32)


def _narrowed(values: NDArray[Any]) -> NDArray[Any]:
    """Return integers in 16 bits where they fit."""
    low, high = int(values.min()), int(values.max())
    if values.dtype.itemsize <= 2:
        return values
    if low >= 0:
        return values.astype(np.uint16) if high < 1 << 16 else values
    return values.astype(np.int16) if low >= -(1 << 15) and high < 1 << 15 else values
