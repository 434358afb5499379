"""A DICOM header's elements, read without trust: what is missing or cannot be parsed is None.

Also how far apart the pixels lie, and how much higher than wide they are.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from adaloraqat.radiograph.film import possible_spacing

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_MOST_OBLONG = 4.0  # pixels longer than this many times their width are a mistake in the tag
_SAME = 1e-3  # of a spacing: no film is magnified by less, but numbers are rounded
_MOST_MAGNIFIED = 2.0  # a chest half way to the tube; anything beyond is a mistake in the tag


def element(dataset: Dataset, key: str) -> Any:
    """Return an element's value, None where it is missing or cannot be parsed."""
    try:
        return dataset.get(key)
    except Exception:  # pydicom parses on access; text in a number raises many kinds
        return None


def number(dataset: Dataset, key: str) -> float | None:
    """Return the first value of a numeric element, None where it is missing or no finite number."""
    value = element(dataset, key)
    try:
        if value is not None and not isinstance(value, int | float | str):
            value = value[0] if len(value) else None
        found = float(value) if value is not None else math.nan
    except (TypeError, ValueError, LookupError, OverflowError):  # a damaged header gives the tag any type
        return None
    return found if math.isfinite(found) else None


def pair(dataset: Dataset, *keys: str) -> tuple[float, float] | tuple[None, None]:
    """Return the first values of two numeric elements that need each other, None where both are missing.

    Raises:
        ValueError: one is missing, or no finite number.
    """
    first, second = (number(dataset, key) for key in keys)
    if first is not None and second is not None:
        return first, second
    if any(key in dataset and not is_empty(dataset, key) for key in keys):
        raise ValueError("not two numbers")
    return None, None


def words(dataset: Dataset, *keys: str) -> str:
    """Return the text of some elements, and the meanings of those that are coded, in small letters."""
    found: list[str] = []
    for key in keys:
        value = element(dataset, key)
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, Sequence):
            found += [str(element(item, "CodeMeaning") or "") for item in value]
    return " ".join(" ".join(found).lower().split())


def values(dataset: Dataset, key: str) -> list[str]:
    """Return an element's values as text, none where it is missing."""
    value = element(dataset, key)
    if value is None or value == "":
        return []
    return [str(part) for part in value] if isinstance(value, MultiValue | Sequence) else [str(value)]


def flatten(dataset: Dataset) -> None:
    """Give the one frame of an enhanced object its functional groups' elements (PS3.3 C.7.6.16) at the top.

    Spacing, window, rescale, view and body part lie there in such objects; what stands at the top stays.
    """
    for macro in list(_macros(dataset)):
        for key in _elements(macro):
            if key.keyword and (key.keyword not in dataset or is_empty(dataset, key.keyword)):
                dataset[key.tag] = key


def _macros(dataset: Dataset) -> Iterator[Dataset]:
    for group in _GROUPS:
        frames = element(dataset, group)
        for frame in frames[:1] if isinstance(frames, Sequence) else ():
            for inner in _elements(frame):
                if inner.VR == "SQ":
                    yield from list(inner.value or ())[:1]


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    """Yield the elements that can be parsed."""
    for tag in list(dataset.keys()):
        with suppress(Exception):  # as in `element`
            yield dataset[tag]


def is_empty(dataset: Dataset, key: str) -> bool:
    """Return whether an element has no value but blanks, also where it cannot be parsed."""
    value = dataset.get_item(key).value
    return not (value.strip(b" \0") if isinstance(value, bytes) else value or value == 0)


def spacing_of(dataset: Dataset, notices: list[str]) -> tuple[float, float] | None:
    """Return (row, column) spacing in mm, None where it is unknown or cannot be that of a film.

    The detector's spacing is divided by the magnification where the header tells it, else a notice says that
    it is the detector's; also where an uncalibrated PixelSpacing merely repeats it (PS3.3 10.7.1.3).
    """
    shape = int(dataset.Rows), int(dataset.Columns)
    ignored = []
    for key in _SPACINGS:
        value = element(dataset, key)
        if not value:
            continue
        spacing = _two(value)
        if spacing is None or possible_spacing(spacing, shape) is None:
            ignored.append(f"The {key} is not plausible and was ignored")
            continue
        notices += [f"{sentence}: {key} was used instead." for sentence in ignored]
        if key == "PixelSpacing" and not _is_uncorrected(dataset, spacing):
            return spacing
        factor = number(dataset, "EstimatedRadiographicMagnificationFactor")
        if factor is not None and 1 < factor <= _MOST_MAGNIFIED:
            corrected = spacing[0] / factor, spacing[1] / factor
            if possible_spacing(corrected, shape) is not None:
                notices.append(f"The spacing was corrected for the magnification of {factor:g}.")
                return corrected
        notices.append("The spacing is that of the detector: distances in the patient are slightly smaller.")
        return spacing
    notices += [f"{sentence}: no distances in mm." for sentence in ignored]
    return None


def aspect_of(dataset: Dataset) -> float:
    """Return how much higher than wide a pixel is, by its spacing, else by PixelAspectRatio; else 1.

    The ratio can be right where the spacing's unit is not.
    """
    for key in (*_SPACINGS, "PixelAspectRatio"):
        sides = _two(element(dataset, key))
        if sides is not None and 1 / _MOST_OBLONG <= sides[0] / sides[1] <= _MOST_OBLONG:
            return sides[0] / sides[1]
    return 1.0


def _is_uncorrected(dataset: Dataset, spacing: tuple[float, float]) -> bool:
    """Return whether a spacing is the detector's, perhaps with fewer digits."""
    if element(dataset, "PixelSpacingCalibrationType"):
        return False
    detector = _two(element(dataset, "ImagerPixelSpacing"))
    return detector is not None and all(
        math.isclose(one, other, rel_tol=_SAME) for one, other in zip(spacing, detector, strict=True)
    )


def _two(value: Any) -> tuple[float, float] | None:
    """Return two positive numbers, None where there are none."""
    try:
        row, column = (float(side) for side in value)
    except (TypeError, ValueError):
        return None
    return (row, column) if 0 < row < 1e6 and 0 < column < 1e6 else None
