"""How far apart a DICOM film's pixels lie, and how much higher than wide they are."""

from typing import Any

from pydicom import Dataset

from adaloraqat.radiograph.film import possible_spacing
from adaloraqat.radiograph.formats.dicom_elements import element, number

_KEYS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_MOST_OBLONG = 4.0  # pixels longer than this many times their width are a mistake in the tag
_MOST_MAGNIFIED = 2.0  # a chest half way to the tube; what is told beyond is a mistake in the tag


def spacing_of(dataset: Dataset, notices: list[str]) -> tuple[float, float] | None:
    """Return (row, column) spacing in mm, None where it is unknown or cannot be that of a film.

    The detector's spacing is divided by the magnification where the header tells it, else a notice says that
    it is the detector's; also where an uncalibrated PixelSpacing merely repeats it (PS3.3 10.7.1.3).
    """
    shape = int(dataset.Rows), int(dataset.Columns)
    for key in _KEYS:
        value = element(dataset, key)
        if not value:
            continue
        spacing = _two(value)
        if spacing is None or possible_spacing(spacing, shape) is None:
            notices.append(f"The {key} is not plausible and was ignored: no distances in mm.")
            continue
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
    return None


def aspect_of(dataset: Dataset) -> float:
    """Return how much higher than wide a pixel is, by its spacing, else by PixelAspectRatio; else 1.

    The ratio can be right where the spacing's unit is not.
    """
    for key in (*_KEYS, "PixelAspectRatio"):
        sides = _two(element(dataset, key))
        if sides is not None and 1 / _MOST_OBLONG <= sides[0] / sides[1] <= _MOST_OBLONG:
            return sides[0] / sides[1]
    return 1.0


def _is_uncorrected(dataset: Dataset, spacing: tuple[float, float]) -> bool:
    if element(dataset, "PixelSpacingCalibrationType"):
        return False
    return _two(element(dataset, "ImagerPixelSpacing")) == spacing


def _two(value: Any) -> tuple[float, float] | None:
    """Return two positive numbers, None where there are none."""
    try:
        row, column = (float(side) for side in value)
    except (TypeError, ValueError):
        return None
    return (row, column) if 0 < row < 1e6 and 0 < column < 1e6 else None
