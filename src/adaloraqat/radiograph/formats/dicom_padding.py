"""Where a DICOM film's pixels are padding, which says nothing of the patient: as declared, or as it looks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from adaloraqat.radiograph.formats.dicom_header import number

_LEAST_OF_BORDER = 0.1  # undeclared padding is at the film's edge ...
_LEAST_OF_FILM = 0.005  # ... fills an area ...
_LEAST_GAP = 0.25  # ... and lies this far beyond all else, in parts of the range of all else
_MOST_OF_IMAGE = 0.5  # is a range of padding ...
_LEAST_FROM_EDGE = 0.9  # ... of which as much as this lies between the film and an edge
_LEVELS = 32  # fewer grey levels than these are a drawing


def stored_words(dataset: Dataset, values: NDArray[Any]) -> NDArray[Any]:
    """Return (H, W) the words that the file holds for `values`: bits above BitsStored may mark padding."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated or values.ndim != 2 or "PixelData" not in dataset:
        return values
    size = int(dataset.BitsAllocated) // 8
    if (
        size not in (1, 2, 4)
        or int(dataset.get("SamplesPerPixel") or 1) != 1
        or values.dtype.kind not in "ui"
    ):
        return values
    little = dataset.original_encoding[1] is not False
    kind = np.dtype(f"{'<' if little else '>'}{'i' if values.dtype.kind == 'i' else 'u'}{size}")
    if len(dataset.PixelData) < values.size * size:
        return values
    return np.frombuffer(dataset.PixelData, kind, values.size).reshape(values.shape)


def padding(dataset: Dataset, stored: NDArray[Any], notices: list[str]) -> NDArray[np.bool_] | None:
    """Return (H, W) where `stored` words are padding, None where nothing is.

    Declared padding is one value or a range of them (PS3.3 C.7.5.1.1.2); its tag may have another sign than
    the pixels; a range that holds much of what lies within the film is a mistake. Undeclared padding is the
    greatest or least value, at the film's edge and far beyond all others.
    """
    if stored.dtype.kind not in "ui" or stored.ndim != 2:
        return None
    found = _declared(dataset, stored, notices)
    for end in (stored.max(), stored.min()):
        there = stored == end
        if found is not None:
            there &= ~found
        if _is_apart(stored, there, found):
            found = there if found is None else found | there
    return found if found is not None and found.any() and not found.all() else None


def _declared(dataset: Dataset, stored: NDArray[Any], notices: list[str]) -> NDArray[np.bool_] | None:
    first, last = number(dataset, "PixelPaddingValue"), number(dataset, "PixelPaddingRangeLimit")
    if first is None:
        return None
    bits = 8 * stored.dtype.itemsize
    ends = [
        _as_stored(round(value), bits, stored.dtype.kind)
        for value in (first, first if last is None else last)
    ]
    low, high = sorted(ends)
    found: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    if not found.any():
        return None
    film = found.mean() > _MOST_OF_IMAGE or _from_edge(found) < _LEAST_FROM_EDGE
    if last is not None and film and len(np.unique(stored[found])) >= _LEVELS:
        notices.append("The range of padding covers part of the film and was ignored.")
        return None
    return found


def _from_edge(there: NDArray[np.bool_]) -> float:
    """Return the share of (H, W) marked pixels that an edge leads to in their row or column, all marked."""
    reached = np.zeros_like(there)
    for axis in (0, 1):
        reached |= np.logical_and.accumulate(there, axis)
        reached |= np.flip(np.logical_and.accumulate(np.flip(there, axis), axis), axis)
    return float(reached.sum() / there.sum())


def _as_stored(value: int, bits: int, kind: str) -> int:
    """Return the value whose bits in a word of the pixels' kind are the tag's."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if kind == "i" and value >> (bits - 1) else value


def _is_apart(stored: NDArray[Any], there: NDArray[np.bool_], known: NDArray[np.bool_] | None) -> bool:
    edge = np.concatenate([there[0], there[-1], there[:, 0], there[:, -1]])
    if edge.mean() < _LEAST_OF_BORDER or there.mean() < _LEAST_OF_FILM:
        return False
    rest = stored[~there if known is None else ~(there | known)]
    if rest.size < _LEVELS or len(np.unique(rest[:: max(1, rest.size >> 16)])) < _LEVELS:
        return False
    end = float(stored[there][0])
    low, high = (float(level) for level in np.percentile(rest[:: max(1, rest.size >> 18)], (0.01, 99.99)))
    return max(end - high, low - end) > _LEAST_GAP * (high - low)
