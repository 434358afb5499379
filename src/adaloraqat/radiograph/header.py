"""What a film's file says before its pixels are decoded: its size, spacing, patient and view."""

import os
from dataclasses import dataclass
from pathlib import Path

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import jsrt_img
from adaloraqat.radiograph.archive import Archive
from adaloraqat.radiograph.kinds import Kind, kind_of
from adaloraqat.radiograph.npz import image_name, is_image
from adaloraqat.radiograph.quiet import quiet
from adaloraqat.radiograph.raster import raster_size


@dataclass(frozen=True)
class Header:
    """`shape` (H, W) on the film's grid; the rest as in `Film`, None where the file does not say."""

    shape: tuple[int, int]
    spacing_mm: tuple[float, float] | None = None
    patient: str | None = None
    view: str | None = None


def read_header(path: str | os.PathLike[str]) -> Header:
    """Return what the header of a film says; the pixels are not looked at and may still be damaged.

    Raises:
        FilmError: no such file, of another kind than `read_film` reads, or a header that cannot be read.
    """
    path = Path(path)
    return _READERS[kind_of(path)](path)


def _picture(path: Path) -> Header:
    return Header(raster_size(path))


def _jsrt(path: Path) -> Header:
    return Header((jsrt_img.SIDE, jsrt_img.SIDE), (jsrt_img.SPACING_MM, jsrt_img.SPACING_MM))


def _dicom(path: Path) -> Header:
    from adaloraqat.radiograph.dicom import patient_of, spacing_of
    from adaloraqat.radiograph.dicom_whole import read_dataset

    with quiet():
        try:
            dataset = read_dataset(path, before_pixels=True)
            shape = int(dataset.Rows), int(dataset.Columns)
            view = str(dataset.get("ViewPosition") or "").strip().upper() or None
        except FilmError:
            raise
        except Exception as error:  # damaged headers raise many kinds
            raise FilmError(f"{path.name} is not a readable DICOM film: export or copy it again.") from error
        return Header(shape, spacing_of(dataset, []), patient_of(dataset), view)


def _npz(path: Path) -> Header:
    with Archive(path) as archive:
        shape = archive.header(image_name(archive)).shape
    if not is_image(shape):
        raise FilmError(f"{path.name} holds a volume: one film of (height, width) is needed.")
    return Header((shape[0], shape[1]))


_READERS = {Kind.PICTURE: _picture, Kind.DICOM: _dicom, Kind.NPZ: _npz, Kind.JSRT: _jsrt}
