"""How a film's values become the greys that a station shows: rescale or table, then windows or tables.

It is copied element by element into a presentation state. highdicom's own copying refuses headers that films
have (a window beside a table, an empty function, an explanation too many), takes tables of 12 bits for such
of 16, which shows a film that is almost black, and spells a window's explanation letter by letter.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.valuerep import format_number_as_ds

from adaloraqat.radiograph.formats.dicom_header import element, number, values

LINEAR = "LINEAR"
_FUNCTIONS = (LINEAR, "LINEAR_EXACT", "SIGMOID")
_MOST_LETTERS = 64  # of an element of VR LO
_KEYS = (
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction"),
)


@dataclass(frozen=True)
class GreyScale:
    """Elements of a film's grey scale that a station can apply; without elements where there are none.

    Attributes:
        modality: rescale, or a table (PS3.3 C.11.1).
        interest: windows, tables, or both, of which the station chooses as on the film itself (C.11.2).
    """

    modality: Dataset
    interest: Dataset


def take_grey_scale(header: Dataset) -> GreyScale:
    """Take the grey scale out of a header whose functional groups were flattened."""
    scale = GreyScale(_modality(header), _interest(header))
    for key in _KEYS:
        header.pop(key, None)
    return scale


def _modality(header: Dataset) -> Dataset:
    """Return the table where there is one, as reading prefers it too, else slope and intercept."""
    found = Dataset()
    tables = _tables(header, "ModalityLUTSequence")
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    kind = (values(header, "RescaleType") or [""])[0][:_MOST_LETTERS] or "US"
    if tables:
        found.ModalityLUTSequence = tables[:1]
        found.ModalityLUTSequence[0].ModalityLUTType = tables[0].get("ModalityLUTType") or kind
    elif slope is not None and intercept is not None and slope != 0:
        found.RescaleIntercept, found.RescaleSlope = (
            format_number_as_ds(intercept),
            format_number_as_ds(slope),
        )
        found.RescaleType = kind
    return found


def _interest(header: Dataset) -> Dataset:
    found = Dataset()
    if tables := _tables(header, "VOILUTSequence"):
        found.VOILUTSequence = tables
    function = str(element(header, "VOILUTFunction") or "").strip()
    if function not in _FUNCTIONS:  # reading takes it for LINEAR, too
        function = ""
    centres, widths = (numbers(header, key) for key in ("WindowCenter", "WindowWidth"))
    least = 1 if function in ("", LINEAR) else math.ulp(0)
    if not centres or len(centres) != len(widths) or min(widths) < least:
        return found
    found.WindowCenter = [format_number_as_ds(one) for one in centres]
    found.WindowWidth = [format_number_as_ds(one) for one in widths]
    if function:
        found.VOILUTFunction = function
    names = values(header, "WindowCenterWidthExplanation")
    if len(names) == len(centres) and all(len(name) <= _MOST_LETTERS for name in names):
        found.WindowCenterWidthExplanation = names
    return found


def _tables(header: Dataset, key: str) -> list[Dataset]:
    """Return the tables of a sequence whose data have the length that they say, of 8 or 16 bits."""
    found = []
    for item in element(header, key) or ():
        with suppress(
            AttributeError, KeyError, TypeError, ValueError
        ):  # as many kinds as elements can be wrong
            found.append(_table(item, key == "VOILUTSequence"))
    return found


def _table(item: Dataset, of_greys: bool) -> Dataset:
    """Return a table as presentation states have it.

    Raises:
        Exception: of several kinds, where it is none.
    """
    entries, first, bits = item.LUTDescriptor
    data, length = item.LUTData, int(entries) or 1 << 16
    if not isinstance(data, bytes):  # VR US: numbers, whose length an explicit VR may not even hold
        data = np.atleast_1d(np.asarray(data)).astype("<u2").tobytes()
    if len(data) == 2 * length and 0 < bits <= 16:
        words = np.frombuffer(data, "<u2")
        if of_greys and bits < 16:  # greys are shares of the range; what a modality's table holds are values
            most = (1 << bits) - 1
            words = np.round(np.minimum(words, most) * (65535 / most)).astype("<u2")
        data, bits = words.tobytes(), 16
    elif bits != 8 or len(data) != length + length % 2:
        raise ValueError("a table of another length than it says")
    table = Dataset()
    table.add_new("LUTDescriptor", item["LUTDescriptor"].VR, [entries, first, bits])
    table.add_new("LUTData", "OW", data)
    for name in ("LUTExplanation",) if of_greys else ("LUTExplanation", "ModalityLUTType"):
        if said := str(element(item, name) or "")[:_MOST_LETTERS]:
            setattr(table, name, said)
    return table


def numbers(dataset: Dataset, key: str) -> list[float]:
    """Return an element's values, none of them where one is not a finite number."""
    value = element(dataset, key)
    if value is None or value == "":
        return []
    given: Sequence[float | str] = [value] if isinstance(value, int | float | str) else value
    try:
        found = [float(one) for one in given]
    except (TypeError, ValueError):
        return []
    return found if all(map(math.isfinite, found)) else []
