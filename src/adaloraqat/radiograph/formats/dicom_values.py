"""Films in DICOM files: the stored values as a viewer would show them, and what the header says.

The grey-scale pipeline is that of DICOM PS3.3 C.11 and PS3.4 N.2: modality LUT or rescale, VOI LUT or window,
then inversion for MONOCHROME1. pydicom computes it, once for each grey level instead of each pixel.
"""

import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_windowing
from pydicom.pixels.processing import apply_voi
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from adaloraqat.errors import FilmError, refused_as
from adaloraqat.radiograph.film import Film, check_size, grey, scaled, turned_over
from adaloraqat.radiograph.formats.base import Header
from adaloraqat.radiograph.formats.decoders import unknown_syntax
from adaloraqat.radiograph.formats.dicom import check_holds_film
from adaloraqat.radiograph.formats.dicom_header import aspect_of, element, flatten, pair, spacing_of, told_by
from adaloraqat.radiograph.formats.dicom_padding import padding, stored_words
from adaloraqat.radiograph.formats.dicom_pixels import (
    check_fits,
    check_size_of_pixels,
    decoded,
    is_cut_short,
    read_dataset,
)
from adaloraqat.radiograph.formats.helper import DecoderDied

# what a faulty LUT or window raises
_UNUSABLE = (AttributeError, KeyError, TypeError, ValueError, IndexError, NotImplementedError, struct.error)
_MOST_LEVELS = 1 << 20  # beyond, as in 32-bit numbers, each pixel is looked at
_FAR = np.array([-1e12, 1e12])  # below and above any window

# How much of the film a window may clip: of 14 real films under 12 windows, Dice falls by 0.01 at most within
# these limits, and by 0.02 to 0.3 where 0.4 and more are too bright. Windows at the percentiles 5 and 95, or
# 10 and 90, clip 0.12 at most.
_MOST_DARK, _MOST_BRIGHT, _MOST_BOTH = 0.4, 0.35, 0.5
_CLIPPED = 0.002  # of the output's range: nearer to its end a sigmoid shows nothing
_LEAST_SPAN = 0.1  # of the output's range: a window that is wider shows hardly any grey levels


def dicom_header(path: Path) -> Header:
    """See `Format.header`."""
    with refused_as(FilmError(f"{path.name} is not a readable DICOM film: export or copy it again.")):
        dataset = read_dataset(path, before_pixels=True)
        check_holds_film(str(element(dataset, "SOPClassUID") or ""), path.name)
        flatten(dataset)
        shape = int(dataset.Rows), int(dataset.Columns)
        view = str(dataset.get("ViewPosition") or "").strip().upper() or None
    return Header(shape, spacing_of(dataset, []), _patient(dataset), view)


def dicom_film(path: Path) -> Film:
    """See `Format.read`."""
    with refused_as(FilmError(f"{path.name} is not a readable DICOM file: export or copy it again.")):
        dataset = read_dataset(path)
    return film_of_dataset(dataset, path.name)


def film_of_dataset(dataset: Dataset, name: str) -> Film:
    """Return the film of a data set, whose elements may be changed; `name` begins the sentence of an error.

    Raises:
        FilmError: no film in it, several frames, or damaged pixels.
    """
    _check(dataset, name)
    notices: list[str] = []
    stored = _stored(dataset, name)
    outside = padding(dataset, stored_words(dataset, stored))
    values = scaled(_presented(dataset, stored, outside, notices), name)
    spacing = spacing_of(dataset, notices)
    return Film(
        values, spacing, _patient(dataset), tuple(notices), aspect=aspect_of(dataset), told=told_by(dataset)
    )


def _check(dataset: Dataset, name: str) -> None:
    with refused_as(FilmError(f"{name} is not a readable DICOM file: export or copy it again.")):
        check_holds_film(str(element(dataset, "SOPClassUID") or ""), name)
        rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
        frames = int(dataset.get("NumberOfFrames") or 1)
        if frames == 1:
            flatten(dataset)
    if rows == 0 or columns == 0:
        raise FilmError(f"{name} holds no DICOM image, or is truncated: give a CR or DX film.")
    if frames > 1:
        raise FilmError(f"{name} holds {frames} frames: export the one film to segment as a file of its own.")
    check_size(name, rows, columns)
    if not any(key in dataset for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise FilmError(
            f"{name} has no pixel data: it is truncated or not an image; export or copy it again."
        )


def _stored(dataset: Dataset, name: str) -> NDArray[Any]:
    """Return (H, W) stored values, of colours their grey."""
    _add_transfer_syntax(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    unknown = unknown_syntax(syntax)
    if unknown is not None:
        raise FilmError(f"{name} cannot be read: {unknown}; export it uncompressed or as JPEG 2000 or PNG.")
    try:
        if syntax.is_encapsulated:
            check_size_of_pixels(dataset, name)  # before a decoder takes memory for it
        values = _pixels(dataset)  # colour comes as RGB
        check_fits(dataset, values, name)
        short = is_cut_short(dataset, values)
        if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            values = apply_color_lut(values, dataset)
    except FilmError:
        raise
    except DecoderDied as error:
        raise FilmError(
            f"{name} cannot be read: its pixels ({syntax.name}) are damaged, their decoder could not finish; "
            "export or copy it again."
        ) from error
    except Exception as error:  # each decoder has its own
        if syntax.is_compressed:
            reason = (
                f"its pixels ({syntax.name}) cannot be decoded; export it uncompressed or as JPEG 2000 or PNG"
            )
        else:
            reason = "its pixel data are incomplete or do not fit its header; export or copy it again"
        raise FilmError(f"{name} cannot be read: {reason}.") from error
    if short:
        raise FilmError(f"{name} is truncated: part of the film is missing; export or copy it again.")
    return grey(values) if values.ndim == 3 else values


def _pixels(dataset: Dataset) -> NDArray[Any]:
    """Return stored values; where old files keep them in the upper bits of a word, shifted down."""
    stored, high = int(dataset.get("BitsStored") or 0), int(dataset.get("HighBit") or 0)
    shift = high + 1 - stored
    compressed = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    if shift <= 0 or stored <= 0 or compressed or high >= int(dataset.get("BitsAllocated") or 0):
        return decoded(dataset)
    dataset.BitsStored = high + 1
    values = decoded(dataset) >> shift
    dataset.BitsStored = stored
    return values


def _add_transfer_syntax(dataset: Dataset) -> None:
    """Give an old file without meta header the syntax that pydicom read it with."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRBigEndian if little is False else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = explicit if implicit is False else ImplicitVRLittleEndian


def _presented(
    dataset: Dataset, stored: NDArray[Any], outside: NDArray[np.bool_] | None, notices: list[str]
) -> NDArray[Any]:
    """Return (H, W) values with bright = dense as the tags say; padding, where `outside` is set, is black."""
    levels, counts, place = _levels(stored, outside)
    shown = _shown(dataset, levels, counts, notices)
    values = stored if shown is None else shown[place].reshape(stored.shape)
    inside = values if outside is None else values[~outside]
    if outside is not None:  # before the range is taken: it is not a grey of the film
        values = np.where(outside, inside.min(), values)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        values = turned_over(values)
        if outside is not None:
            values = np.where(outside, values.min(), values)
    return values


def _levels(
    stored: NDArray[Any], outside: NDArray[np.bool_] | None
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[Any]]:
    """Return the grey levels, rising, how many pixels inside have each, and each pixel's place among them."""
    weights = np.ones(stored.shape, np.bool_) if outside is None else ~outside
    if stored.dtype.kind in "ui":
        low, high = int(stored.min()), int(stored.max())
        if high - low < _MOST_LEVELS:
            place = (stored - low) if stored.dtype.kind == "u" else stored.astype(np.int64) - low
            counts = np.bincount(place[weights], minlength=high - low + 1)
            return np.arange(low, high + 1, dtype=np.int64), counts, place
    levels, place = np.unique(stored, return_inverse=True)
    place = place.reshape(stored.shape)
    return levels, np.bincount(place[weights], minlength=len(levels)), place


def _shown(
    dataset: Dataset, levels: NDArray[Any], counts: NDArray[np.int64], notices: list[str]
) -> NDArray[np.float32] | None:
    """Return what each level is shown as, None where it is shown as it is stored."""
    modality = _modality(dataset, levels, notices)
    view = _interest(dataset, modality, counts, notices)
    if view is None:
        return None if modality is levels else modality.astype(np.float32)
    return view.astype(np.float32)


def _modality(dataset: Dataset, levels: NDArray[Any], notices: list[str]) -> NDArray[Any]:
    """Apply the modality LUT, or slope and intercept (PS3.3 C.11.1); an unusable one is taken off."""
    try:
        if dataset.get("ModalityLUTSequence"):
            return apply_modality_lut(levels, dataset)
        slope, intercept = pair(dataset, "RescaleSlope", "RescaleIntercept")
        if slope == 0:
            raise ValueError("a slope that makes all values one")
        if slope is None or (slope, intercept) == (1.0, 0.0):
            return levels
        return apply_modality_lut(levels, dataset)
    except _UNUSABLE:
        notices.append("The modality LUT, or the rescale slope and intercept, is unusable and was ignored.")
        for key in ("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"):
            if key in dataset:
                del dataset[key]
        return levels


def _interest(
    dataset: Dataset, values: NDArray[Any], counts: NDArray[np.int64], notices: list[str]
) -> NDArray[Any] | None:
    """Return the first view that shows the film, VOI LUTs before windows (PS3.3 C.11.2); None without."""
    if dataset.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        return None  # views are defined for grey films only
    tables = element(dataset, "VOILUTSequence") or ()
    left_out = False
    for number in range(len(tables)):
        try:
            view = apply_voi(np.rint(values).astype(np.int64), dataset, number)
            ends = float(view.min()), float(view.max())
        except _UNUSABLE:
            notices.append("The VOI window or LUT is unusable and was ignored.")
            continue
        fault = _fault(view, ends, counts, dataset)
        if fault is None:
            return view
        left_out = True
        notices.append(f"The VOI LUT {fault} and was ignored.")
    try:
        windows = _windows(dataset)
    except _UNUSABLE:
        notices.append("The VOI window or LUT is unusable and was ignored.")
        return None
    for number in range(windows):
        try:
            below, above = apply_windowing(_FAR, dataset, number)
            view = (apply_windowing(values, dataset, number) - below) / (above - below)
        except _UNUSABLE:
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


def _patient(dataset: Dataset) -> str | None:
    """Return the first 16 hexadecimal digits of the SHA-256 of the patient's number, for splits."""
    number = str(element(dataset, "PatientID") or "").strip()
    return hashlib.sha256(number.encode()).hexdigest()[:16] if number else None
