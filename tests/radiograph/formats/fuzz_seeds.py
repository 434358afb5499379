"""Valid files of every format that the readers know, small, and where the content after the header begins."""

import io
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gdcm
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
SIDE = 40
FILM = np.clip(
    np.add.outer(np.arange(SIDE) * 3, np.arange(SIDE + 8) * 2)
    + np.random.default_rng(1).integers(0, 40, (SIDE, SIDE + 8)),
    0,
    255,
).astype(np.uint8)
DEEP = FILM.astype(np.uint16) * 16
JSRT_SIDE = 2048


class Seed(NamedTuple):
    """A valid file: its format's name, the suffix of its name, its bytes, and the film in it."""

    kind: str
    suffix: str
    content: bytes
    film: np.ndarray = FILM


def picture(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def interlaced() -> bytes:
    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    lines = (b"\0" + line.tobytes() for y, x, dy, dx in passes for line in FILM[y::dy, x::dx])
    header = struct.pack(">IIBBBBB", FILM.shape[1], FILM.shape[0], 8, 0, 0, 0, 1)
    data = zlib.compress(b"".join(lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def deep_colour() -> bytes:
    rgb = np.repeat(DEEP[..., None], 3, axis=2).astype(">u2").reshape(len(DEEP), -1)
    header = struct.pack(">IIBBBBB", FILM.shape[1], FILM.shape[0], 16, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in rgb))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def archive(save: Callable[..., None], **arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def dicom(stored: np.ndarray, syntax: UID, frame: bytes | None = None, **elements: Any) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    dataset.PatientID, dataset.Modality, dataset.PixelSpacing = "4711", "CR", [0.2, 0.2]
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored = 12 if stored.dtype.itemsize == 2 else 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    swapped = stored.astype(stored.dtype.newbyteorder(">")) if syntax == ExplicitVRBigEndian else stored
    dataset.PixelData = swapped.tobytes()
    for key, value in elements.items():
        setattr(dataset, key, value)
    if frame is not None:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif syntax in (RLELossless, JPEGLSLossless):
        dataset.compress(syntax)
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    pydicom.dcmwrite(stream, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return stream.getvalue()


def look_up_table() -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [4096, 0, 16], list(range(4096))
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return [item]


def jpeg2000() -> bytes:
    return picture(Image.fromarray(DEEP), "JPEG2000", irreversible=False, no_jp2=True)


def jpeg_lossless() -> bytes:
    """A DICOM file in the syntax of most CR archives, which only gdcm writes and reads."""
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder, "plain.dcm"), Path(folder, "packed.dcm")
        plain.write_bytes(dicom(DEEP, ExplicitVRLittleEndian))
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return packed.read_bytes()


def raw_jsrt() -> Seed:
    """JSRT's raw numbers: high byte first, high is dark. The size is its only sign, so it cannot be small."""
    rows, columns = (np.arange(JSRT_SIDE) * side // JSRT_SIDE for side in FILM.shape)
    values = 4095 - DEEP[np.ix_(rows, columns)]
    return Seed("jsrt-raw", ".img", values.astype(">u2").tobytes(), FILM[np.ix_(rows, columns)])


def seeds() -> list[Seed]:
    """Return one valid file a format and variant."""
    grey, deep = Image.fromarray(FILM), Image.fromarray(DEEP)
    baseline = picture(grey, "JPEG", quality=90)
    window = {"WindowCenter": 2000, "WindowWidth": 3000, "RescaleSlope": 1, "RescaleIntercept": 0}
    dicoms = {
        "implicit": dicom(DEEP, ImplicitVRLittleEndian, **window),
        "explicit": dicom(DEEP, ExplicitVRLittleEndian, VOILUTSequence=look_up_table()),
        "big-endian": dicom(DEEP, ExplicitVRBigEndian),
        "deflated": dicom(DEEP, DeflatedExplicitVRLittleEndian),
        "rle": dicom(DEEP, RLELossless),
        "jpeg-ls": dicom(DEEP, JPEGLSLossless),
        "jpeg": dicom(FILM, JPEGBaseline8Bit, baseline),
        "jpeg-lossless": jpeg_lossless(),
        "jpeg2000": dicom(DEEP, JPEG2000Lossless, jpeg2000()),
    }
    return [
        Seed("png-8", ".png", picture(grey, "PNG")),
        Seed("png-16", ".png", picture(deep, "PNG")),
        Seed("png-palette", ".png", picture(grey.convert("P"), "PNG")),
        Seed("png-rgba", ".png", picture(grey.convert("RGBA"), "PNG")),
        Seed("png-interlaced", ".png", interlaced()),
        Seed("png-16-colour", ".png", deep_colour()),
        Seed("jpeg", ".jpg", baseline),
        Seed("jpeg-progressive", ".jpg", picture(grey.convert("RGB"), "JPEG", progressive=True)),
        Seed("tiff-raw", ".tif", picture(deep, "TIFF")),
        Seed("tiff-lzw", ".tif", picture(grey, "TIFF", compression="tiff_lzw")),
        Seed("tiff-deflate", ".tif", picture(deep, "TIFF", compression="tiff_adobe_deflate")),
        Seed("bmp", ".bmp", picture(grey, "BMP")),
        raw_jsrt(),
        Seed("npz", ".npz", archive(np.savez, image=DEEP)),
        Seed("npz-compressed", ".npz", archive(np.savez_compressed, imgs=DEEP)),
        *(Seed(f"dicom-{name}", ".dcm", content) for name, content in dicoms.items()),
    ]
