"""Films in DICOM files: the stored values as a viewer would show them, and the spacing; no patient data.

The grey-scale pipeline is that of DICOM PS3.3 C.11 and PS3.4 N.2: modality LUT or rescale, VOI LUT or window,
then inversion for MONOCHROME1.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import apply_color_lut
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from adaloraqat.errors import FilmError, refused_as
from adaloraqat.radiograph.film import Film, check_size, grey, scaled, turned_over
from adaloraqat.radiograph.formats.base import Header
from adaloraqat.radiograph.formats.dicom_pixels import check_fits, decoded, is_cut_short, read_dataset

_SPACING_MM = (0.02, 5.0)  # finer than any detector; coarser than a chest film reduced to 100 px
# what a faulty LUT or window raises
_UNUSABLE = (AttributeError, KeyError, TypeError, ValueError, IndexError)
_MOST_OBLONG = 4.0  # pixels longer than this many times their width are a mistake in the tag


def dicom_header(path: Path) -> Header:
    """See `Format.header`."""
    with refused_as(FilmError(f"{path.name} is not a readable DICOM film: export or copy it again.")):
        dataset = read_dataset(path, before_pixels=True)
        shape = int(dataset.Rows), int(dataset.Columns)
        view = str(dataset.get("ViewPosition") or "").strip().upper() or None
    return Header(shape, _spacing(dataset, []), _patient(dataset), view)


def dicom_film(path: Path) -> Film:
    """See `Format.read`."""
    dataset = _dataset(path)
    notices: list[str] = []
    values = scaled(_presented(dataset, _stored(dataset, path.name), notices), path.name)
    return Film(values, _spacing(dataset, notices), _patient(dataset), tuple(notices))


def _dataset(path: Path) -> Dataset:
    with refused_as(FilmError(f"{path.name} is not a readable DICOM file: export or copy it again.")):
        dataset = read_dataset(path)
        rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
        frames = int(dataset.get("NumberOfFrames") or 1)
    if rows == 0 or columns == 0:
        raise FilmError(f"{path.name} holds no DICOM image, or is cut short: give a CR or DX film.")
    if frames > 1:
        raise FilmError(
            f"{path.name} holds {frames} frames: export the one film to segment as a file of its own."
        )
    check_size(path.name, rows, columns)
    if not any(key in dataset for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise FilmError(
            f"{path.name} has no pixel data: it is cut short or no image; export or copy it again."
        )
    return dataset


def _stored(dataset: Dataset, name: str) -> NDArray[Any]:
    """Return (H, W) stored values, of colours their grey."""
    _add_transfer_syntax(dataset)
    try:
        values = _pixels(dataset)  # colour comes as RGB
        check_fits(dataset, values, name)
        short = is_cut_short(dataset, values)
        if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            values = apply_color_lut(values, dataset)
    except FilmError:
        raise
    except Exception as error:  # each decoder has its own
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_transfer_syntax and syntax.is_compressed:
            reason = (
                f"its pixels ({syntax.name}) cannot be decoded; export it uncompressed or as JPEG 2000 or PNG"
            )
        else:
            reason = "its pixel data are incomplete or do not fit its header; export or copy it again"
        raise FilmError(f"{name} cannot be read: {reason}.") from error
    if short:
        raise FilmError(f"{name} is cut short: a part of the film is missing; export or copy it again.")
    return grey(values) if values.ndim == 3 else values


def _pixels(dataset: Dataset) -> NDArray[Any]:
    """Return stored values; where old files keep them in the upper bits of a word, shifted down."""
    stored, high = int(dataset.get("BitsStored") or 0), int(dataset.get("HighBit") or 0)
    shift = high + 1 - stored
    compressed = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    if shift <= 0 or stored <= 0 or compressed or high >= int(dataset.get("BitsAllocated") or 0):
        return decoded(dataset)
    dataset.BitsStored = high + 1
    return decoded(dataset) >> shift


def _add_transfer_syntax(dataset: Dataset) -> None:
    """Give an old file without meta header the syntax that pydicom read it with."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRBigEndian if little is False else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = explicit if implicit is False else ImplicitVRLittleEndian


def _presented(dataset: Dataset, stored: NDArray[Any], notices: list[str]) -> NDArray[Any]:
    """Return (H, W) values with bright = dense as the tags say."""
    values = _interest(dataset, _modality(dataset, stored, notices), notices)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        values = turned_over(values)
    outside = _padding(dataset, stored)
    if outside is not None and outside.any() and not outside.all():
        values = np.where(outside, values[~outside].min(), values)
    return values


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Return (H, W) where the stored values are padding, one value or a range of them (PS3.3 C.7.5.1.1.2)."""
    first, last = _number(dataset, "PixelPaddingValue"), _number(dataset, "PixelPaddingRangeLimit")
    if first is None or stored.dtype.kind not in "ui":
        return None
    low, high = sorted((first, first if last is None else last))
    return (stored >= low) & (stored <= high)


def _modality(dataset: Dataset, stored: NDArray[Any], notices: list[str]) -> NDArray[Any]:
    """Apply the modality LUT, or slope and intercept (PS3.3 C.11.1)."""
    try:
        if dataset.get("ModalityLUTSequence"):
            return _look_up(dataset, "ModalityLUTSequence", stored)
        slope, intercept = _pair(dataset, "RescaleSlope", "RescaleIntercept")
        if slope == 0:
            raise ValueError("a slope that makes all values one")
    except _UNUSABLE:
        notices.append(
            "The modality LUT, or the rescale slope and intercept, is not usable and was left out."
        )
        return stored
    if slope is None or intercept is None or (slope, intercept) == (1.0, 0.0):
        return stored
    return stored * np.float64(slope) + intercept


def _interest(dataset: Dataset, values: NDArray[Any], notices: list[str]) -> NDArray[Any]:
    """Apply the first VOI LUT or window, unless it leaves nothing to see (PS3.3 C.11.2)."""
    try:
        if dataset.get("VOILUTSequence"):
            shown = _look_up(dataset, "VOILUTSequence", values)
        else:
            shown = _windowed(dataset, values)
    except _UNUSABLE:
        notices.append("The VOI window or LUT is not usable and was left out.")
        return values
    low, high = np.percentile(shown[::4, ::4], (5, 95))
    if low == high and values.min() < values.max():
        notices.append("The VOI window or LUT hides the film and was left out.")
        return values
    return shown


def _windowed(dataset: Dataset, values: NDArray[Any]) -> NDArray[Any]:
    """Return values in the first window as [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3); else unchanged."""
    center, width = _pair(dataset, "WindowCenter", "WindowWidth")
    if center is None or width is None:
        return values
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width <= 0:
        raise ValueError("window without width")
    position = (values.astype(np.float32) - np.float32(center)) / np.float32(width)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * position, -80, 80)))
    return np.clip(position + np.float32(0.5), 0, 1)


def _look_up(dataset: Dataset, sequence: str, values: NDArray[Any]) -> NDArray[Any]:
    """Map values through the first LUT of a sequence (PS3.3 C.11.1.1).

    Values beyond its ends get its first or last entry.
    """
    item = dataset[sequence][0]
    count, first = int(item.LUTDescriptor[0]) or 1 << 16, int(item.LUTDescriptor[1])
    data = item.LUTData
    if isinstance(data, bytes):
        if dataset.original_encoding[1] is False and item["LUTData"].VR == "OW":
            data = np.frombuffer(data, ">u2").astype("<u2").tobytes()  # of words, pydicom swaps no bytes
        table = np.frombuffer(data, np.uint8 if len(data) < 2 * count else np.dtype("<u2"))
    else:
        table = np.asarray(data, dtype=np.uint16)
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, min(count, len(table)) - 1)
    return table[index]


def _spacing(dataset: Dataset, notices: list[str]) -> tuple[float, float] | None:
    """Return (row, column) spacing in mm; detector spacing, which ignores magnification, says so."""
    for key in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        value = _element(dataset, key)
        if not value:
            continue
        spacing = _plausible(value)
        if spacing is None:
            notices.append(f"The {key} is not plausible and was left out: distances are not in mm.")
            continue
        if key != "PixelSpacing" or _uncorrected(dataset, spacing):
            notices.append(
                "The spacing is that of the detector: the patient's distances are a little smaller."
            )
        return spacing
    return None


def _uncorrected(dataset: Dataset, spacing: tuple[float, float]) -> bool:
    """Tell whether a PixelSpacing merely repeats the detector's (PS3.3 10.7.1.3)."""
    if _element(dataset, "PixelSpacingCalibrationType"):
        return False
    return _plausible(_element(dataset, "ImagerPixelSpacing")) == spacing


def _plausible(value: Any) -> tuple[float, float] | None:
    try:
        row, column = (float(side) for side in value)
    except (TypeError, ValueError):
        return None
    low, high = _SPACING_MM
    usable = low <= row <= high and low <= column <= high and 1 / _MOST_OBLONG <= row / column <= _MOST_OBLONG
    return (row, column) if usable else None


def _patient(dataset: Dataset) -> str | None:
    """Return the first 16 hexadecimal digits of the SHA-256 of the patient's number, for splits."""
    number = str(_element(dataset, "PatientID") or "").strip()
    return hashlib.sha256(number.encode()).hexdigest()[:16] if number else None


def _pair(dataset: Dataset, *keys: str) -> tuple[float, float] | tuple[None, None]:
    """Return the first values of two numeric elements that need each other, None where both are missing.

    Raises:
        ValueError: one is missing, or no finite number.
    """
    first, second = (_number(dataset, key) for key in keys)
    if first is not None and second is not None:
        return first, second
    if any(key in dataset and not _is_empty(dataset, key) for key in keys):
        raise ValueError("not two numbers")
    return None, None


def _is_empty(dataset: Dataset, key: str) -> bool:
    """Tell whether an element has no value but blanks, also where it cannot be parsed."""
    value = dataset.get_item(key).value
    return not (value.strip(b" \0") if isinstance(value, bytes) else value or value == 0)


def _number(dataset: Dataset, key: str) -> float | None:
    """Return the first value of a numeric element, None where it is missing or no finite number."""
    value = _element(dataset, key)
    if value is not None and not isinstance(value, int | float | str):
        value = value[0] if len(value) else None
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _element(dataset: Dataset, key: str) -> Any:
    """Return an element's value, None where it is missing or cannot be parsed."""
    try:
        return dataset.get(key)
    except Exception:  # pydicom parses on access; text in a number raises many kinds
        return None
