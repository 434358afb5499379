"""Films in DICOM files: the stored values as a viewer would show them, and what the header says.

The grey-scale pipeline is that of DICOM PS3.3 C.11 and PS3.4 N.2: modality LUT or rescale, VOI LUT or window,
then inversion for MONOCHROME1. pydicom computes it, once for each grey level instead of each pixel.
"""

import hashlib
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
from adaloraqat.radiograph.formats.decoders import unknown_syntax
from adaloraqat.radiograph.formats.dicom import check_holds_film
from adaloraqat.radiograph.formats.dicom_header import aspect_of, element, flatten, spacing_of
from adaloraqat.radiograph.formats.dicom_padding import padding, stored_words
from adaloraqat.radiograph.formats.dicom_pixels import (
    check_fits,
    check_size_of_pixels,
    decoded,
    is_damaged,
    read_dataset,
)
from adaloraqat.radiograph.formats.dicom_told import told_by
from adaloraqat.radiograph.formats.dicom_views import modality, view_of
from adaloraqat.radiograph.formats.helper import DecoderDied

_MOST_LEVELS = 1 << 20  # beyond, as in 32-bit numbers, each pixel is looked at


def dicom_header(path: Path) -> Header:
    """See `Format.header`."""
    with refused_as(FilmError(f"{path.name} is not a readable DICOM film: export or copy it again.")):
        dataset = read_dataset(path, before_pixels=True)
        check_holds_film(str(element(dataset, "SOPClassUID") or ""), path.name)
        flatten(dataset)
        shape = int(dataset.Rows), int(dataset.Columns)
        view = str(element(dataset, "ViewPosition") or "").strip().upper() or None
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
    unreadable = FilmError(f"{name} is not a readable DICOM film: export or copy it again.")
    with refused_as(unreadable, MemoryError):  # for want of which the film is no worse
        _check(dataset, name)
        notices: list[str] = []
        _complete(dataset, notices)
        stored = _stored(dataset, name, notices)
        outside = padding(dataset, stored_words(dataset, stored), notices)
        values, windowed = _presented(dataset, stored, outside, notices)
        # values that no window made have no range but their own, however small a rescale makes them
        pixels = scaled(values, name, keep=windowed)
        spacing = spacing_of(dataset, notices)
        return Film(
            pixels,
            spacing,
            _patient(dataset),
            tuple(notices),
            aspect=aspect_of(dataset),
            told=told_by(dataset),
        )


def _check(dataset: Dataset, name: str) -> None:
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


def _complete(dataset: Dataset, notices: list[str]) -> None:
    """Give the header what it lacks and pydicom needs: what nearly all films have."""
    photometric = str(element(dataset, "PhotometricInterpretation") or "").strip().upper()
    samples = element(dataset, "SamplesPerPixel") or (3 if photometric.startswith(("RGB", "YBR")) else 1)
    usual = {
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": "MONOCHROME2" if samples == 1 else "RGB",
        "PixelRepresentation": 0,
        "BitsStored": element(dataset, "BitsAllocated"),
    }
    missing = [key for key in usual if element(dataset, key) in (None, "")]
    if "PixelData" not in dataset:  # numbers of float need none of them
        missing = [key for key in missing if key == "PhotometricInterpretation"]
    for key in missing:
        setattr(dataset, key, usual[key])
    if missing:
        notices.append(f"The header lacks {', '.join(missing)}: the usual was assumed.")
    if photometric:
        dataset.PhotometricInterpretation = photometric


def _stored(dataset: Dataset, name: str, notices: list[str]) -> NDArray[Any]:
    """Return (H, W) stored values, of colours their grey."""
    _add_transfer_syntax(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    unknown = unknown_syntax(syntax)
    if unknown is not None:
        raise FilmError(f"{name} cannot be read: {unknown}; export it uncompressed or as JPEG 2000 or PNG.")
    try:
        if syntax.is_encapsulated:
            check_size_of_pixels(dataset, name)  # before a decoder takes memory for it
        values = _pixels(dataset, notices)  # colour comes as RGB
        check_fits(dataset, values, name)
        damaged = is_damaged(dataset, values)
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
    if damaged:
        raise FilmError(
            f"{name} is truncated or damaged: part of the film is missing; export or copy it again."
        )
    return grey(values) if values.ndim == 3 else values


def _pixels(dataset: Dataset, notices: list[str]) -> NDArray[Any]:
    """Return stored values; where old files keep them in the upper bits of a word, shifted down."""
    stored, high = int(dataset.get("BitsStored") or 0), int(dataset.get("HighBit") or 0)
    shift = high + 1 - stored
    compressed = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    if shift <= 0 or stored <= 0 or compressed or high >= int(dataset.get("BitsAllocated") or 0):
        return decoded(dataset, notices)
    dataset.BitsStored = high + 1
    values = decoded(dataset, notices) >> shift
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
) -> tuple[NDArray[Any], bool]:
    """Return (H, W) values with bright = dense as the tags say, and whether a window or VOI LUT made them.

    Padding, where `outside` is set, is black.
    """
    levels, counts, place = _levels(stored, outside)
    shown, windowed = _shown(dataset, levels, counts, notices)
    values = stored if shown is None else shown[place].reshape(stored.shape)
    inside = values if outside is None else values[~outside]
    if outside is not None:  # before the range is taken: it is not a grey of the film
        values = np.where(outside, inside.min(), values)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        values = turned_over(values)
        if outside is not None:
            values = np.where(outside, values.min(), values)
    return values, windowed


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
) -> tuple[NDArray[np.float32] | None, bool]:
    """Return what each level is shown as, None where as it is stored; and whether by a window or VOI LUT."""
    values = modality(dataset, levels, counts, notices)
    view = view_of(dataset, values, counts, notices)
    if view is None:
        return (None if values is levels else values.astype(np.float32)), False
    return view.astype(np.float32), True


def _patient(dataset: Dataset) -> str | None:
    """Return the first 16 hexadecimal digits of the SHA-256 of the patient's number, for splits."""
    number = str(element(dataset, "PatientID") or "").strip()
    return hashlib.sha256(number.encode()).hexdigest()[:16] if number else None
