"""Elements of a DICOM data set read without trust: what is missing or cannot be parsed is None."""

import math
from collections.abc import Iterator
from typing import Any

from pydicom import Dataset

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def element(dataset: Dataset, key: str) -> Any:
    """Return an element's value, None where it is missing or cannot be parsed."""
    try:
        return dataset.get(key)
    except Exception:  # pydicom parses on access; text in a number raises many kinds
        return None


def number(dataset: Dataset, key: str) -> float | None:
    """Return the first value of a numeric element, None where it is missing or no finite number."""
    value = element(dataset, key)
    if value is not None and not isinstance(value, int | float | str):
        value = value[0] if len(value) else None
    try:
        found = float(value) if value is not None else math.nan
    except ValueError:
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
        elif key.endswith("Sequence"):
            found += [str(element(item, "CodeMeaning") or "") for item in value or ()]
    return " ".join(" ".join(found).lower().split())


def values(dataset: Dataset, key: str) -> list[str]:
    """Return an element's values as text, none where it is missing."""
    value = element(dataset, key)
    if value is None or value == "":
        return []
    return [str(value)] if isinstance(value, str | int | float) else [str(part) for part in value]


def flatten(dataset: Dataset) -> None:
    """Give the one frame of an enhanced object its functional groups' elements (PS3.3 C.7.6.16) at the top.

    Spacing, window, rescale, view and body part lie there in such objects; what stands at the top stays.
    """
    for macro in list(_macros(dataset)):
        for key in macro:
            if key.keyword and (key.keyword not in dataset or is_empty(dataset, key.keyword)):
                dataset[key.tag] = key


def _macros(dataset: Dataset) -> Iterator[Dataset]:
    for group in _GROUPS:
        for frame in list(element(dataset, group) or ())[:1]:
            for inner in frame:
                if inner.VR == "SQ":
                    yield from list(inner.value or ())[:1]


def is_empty(dataset: Dataset, key: str) -> bool:
    """Tell whether an element has no value but blanks, also where it cannot be parsed."""
    value = dataset.get_item(key).value
    return not (value.strip(b" \0") if isinstance(value, bytes) else value or value == 0)
