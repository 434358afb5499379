"""How a DICOM film is shown: what its modality LUT, VOI LUTs and windows make of each grey level.

Any of them may be damaged, or hide the film. What is left out is told in a notice.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.pixels.processing import apply_voi
from pydicom.sequence import Sequence

from adaloraqat.radiograph.formats.dicom_header import element, pair

_FAR = np.array([-1e12, 1e12])  # below and above any window

# How much of the film a window may clip: of 14 real films under 12 windows, Dice falls by 0.01 at most within
# these limits, and by 0.02 to 0.3 where 0.4 and more are too bright. Windows at the percentiles 5 and 95, or
# 10 and 90, clip 0.12 at most.
_MOST_DARK, _MOST_BRIGHT, _MOST_BOTH = 0.4, 0.35, 0.5
_CLIPPED = 0.002  # of the output's range: nearer to its end a sigmoid shows nothing
_LEAST_SPAN = 0.1  # of the output's range: a window that is wider shows hardly any grey levels


def modality(
    dataset: Dataset, levels: NDArray[Any], counts: NDArray[np.int64], notices: list[str]
) -> NDArray[Any]:
    """Apply the modality LUT, or slope and intercept (PS3.3 C.11.1); an unusable one is taken off.

    A table that is shorter than the film's range, or of one value, clips the film as a window can.
    """
    try:
        if dataset.get("ModalityLUTSequence"):
            table = dataset.ModalityLUTSequence[0]
            _mend(table, levels)
            if 8 < table.LUTDescriptor[2] < 16:  # pydicom knows 8 and 16 alone
                table.LUTDescriptor = [*table.LUTDescriptor[:2], 16]
            shown = apply_modality_lut(levels, dataset)
            fault = _fault(shown, (float(shown.min()), float(shown.max())), counts, dataset)
            if fault is not None:
                raise ValueError(fault)
            return shown
        slope, intercept = pair(dataset, "RescaleSlope", "RescaleIntercept")
        if slope == 0:
            raise ValueError("a slope that makes all values one")
        if slope is None or (slope, intercept) == (1.0, 0.0):
            return levels
        return apply_modality_lut(levels, dataset)
    except Exception:
        notices.append("The modality LUT, or the rescale slope and intercept, is unusable and was ignored.")
        for key in ("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"):
            if key in dataset:
                del dataset[key]
        return levels


def view_of(
    dataset: Dataset, values: NDArray[Any], counts: NDArray[np.int64], notices: list[str]
) -> NDArray[Any] | None:
    """Return the first view that shows the film, VOI LUTs before windows (PS3.3 C.11.2); None without."""
    if dataset.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        return None  # views are defined for grey films only
    tables = element(dataset, "VOILUTSequence") or ()
    if not isinstance(tables, Sequence | tuple):  # the element has another type
        notices.append("The VOI window or LUT is unusable and was ignored.")
        tables = ()
    left_out = False
    for number in range(len(tables)):
        try:
            _mend(tables[number], values)
            view = apply_voi(np.rint(values).astype(np.int64), dataset, number)
            ends = float(view.min()), float(view.max())
        except Exception:  # pydicom has many kinds for a damaged one
            notices.append("The VOI window or LUT is unusable and was ignored.")
            continue
        fault = _fault(view, ends, counts, dataset)
        if fault is None:
            return view
        left_out = True
        notices.append(f"The VOI LUT {fault} and was ignored.")
    try:
        windows = _windows(dataset)
    except Exception:
        notices.append("The VOI window or LUT is unusable and was ignored.")
        return None
    for number in range(windows):
        try:
            below, above = apply_windowing(_FAR, dataset, number)
            view = (apply_windowing(values, dataset, number) - below) / (above - below)
        except Exception:  # pydicom has many kinds for a damaged one
            notices.append("The VOI window or LUT is unusable and was ignored.")
            continue
        fault = _fault(view, (0.0, 1.0), counts, dataset)
        if fault is None:
            if left_out:
                notices.append(f"The header's VOI window {number + 1} was used instead.")
            return view
        left_out = True
        notices.append(f"The VOI window {fault} and was ignored.")
    return None


def _mend(item: Dataset, values: NDArray[Any]) -> None:
    """Correct what pydicom cannot read of a table: its first place's sign, and entries of 8 bits.

    A first place below zero may stand there as an unsigned number: its type follows that of the pixels,
    though the table is for rescaled ones. pydicom counts the places of an 8-bit table in 8 bits, too. Such
    an entry has a word of its own, or shares one with the next (PS3.3 C.11.1.1).

    Args:
        item: the table.
        values: to be looked up.
    """
    entries, first, bits = (int(part) for part in item.LUTDescriptor)
    entries %= 1 << 16
    if first >= 1 << 15 and values.min() < 0:
        first -= 1 << 16
    if bits == 8:
        count = entries or 1 << 16
        table = item.LUTData
        if isinstance(table, bytes) and len(table) in (count, count + 1):
            item["LUTData"].value = list(table[:count])
            item["LUTData"].VR = "US"
        bits = 16
    item.add_new("LUTDescriptor", "SL", [entries, first, bits])  # of numbers that need not have one sign


def _windows(dataset: Dataset) -> int:
    """Return how many windows there are; an empty or odd VOILUTFunction means LINEAR, as without one.

    Raises:
        ValueError: center or width is not a number.
    """
    if pair(dataset, "WindowCenter", "WindowWidth")[0] is None:
        return 0
    if not str(element(dataset, "VOILUTFunction") or "").strip() and "VOILUTFunction" in dataset:
        del dataset.VOILUTFunction
    return min(int(dataset["WindowCenter"].VM), int(dataset["WindowWidth"].VM))


def _fault(
    view: NDArray[Any], ends: tuple[float, float], counts: NDArray[np.int64], dataset: Dataset
) -> str | None:
    """Return what is wrong with a view of each level, as a part of a sentence; None where it shows the film.

    What the detector itself clipped, its least and greatest level, is not a loss.
    """
    total = counts.sum()
    low, high = ends
    if not np.isfinite(view).all() or high <= low or total == 0:
        return "hides the film"
    seen = (view.astype(np.float64) - low) / (high - low)
    order = np.argsort(seen, kind="stable")
    reached = np.cumsum(counts[order])
    least, first, last, most = (
        float(seen[order[min(len(order) - 1, int(np.searchsorted(reached, share * total)))]])
        for share in (0.005, 0.05, 0.95, 0.995)
    )
    used = np.flatnonzero(counts)
    if used.size < 2:
        return None
    if first == last:
        return "hides the film"
    if most - least < _LEAST_SPAN:
        return "shows hardly any of the film's grey levels"
    inner = counts.copy()
    inner[[used[0], used[-1]]] = 0
    dark = inner[seen <= _CLIPPED].sum() / total
    bright = inner[seen >= 1 - _CLIPPED].sum() / total
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        dark, bright = bright, dark
    if dark > _MOST_DARK or bright > _MOST_BRIGHT or dark + bright > _MOST_BOTH:
        return f"clips {dark + bright:.0%} of the film"
    return None
