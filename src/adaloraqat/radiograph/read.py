"""Read one film, whatever its format; the content decides, not the name."""

import os
from collections.abc import Callable
from pathlib import Path

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import Film
from adaloraqat.radiograph.inverted import righted
from adaloraqat.radiograph.jsrt_img import is_jsrt, read_jsrt
from adaloraqat.radiograph.npz import read_npz
from adaloraqat.radiograph.raster import read_raster

_PICTURES = (b"\x89PNG", b"\xff\xd8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM")
_ZIP = b"PK\x03\x04"
_DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
KINDS = "PNG, JPEG, TIFF, BMP, DICOM or npz"


def read_film(path: str | os.PathLike[str]) -> Film:
    """Return the film in a PNG, JPEG, TIFF, BMP, DICOM or npz file; inverted ones are righted.

    Raises:
        FilmError: the file is missing, empty, damaged, of another kind, or not one usable film.
    """
    path = Path(path)
    return righted(_reader(path, _start(path))(path))


def is_dicom(start: bytes) -> bool:
    """Tell whether a file's first 132 bytes are those of a DICOM file."""
    return start[128:132] == b"DICM"


def _start(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            start = stream.read(132)
    except FileNotFoundError as error:
        raise FilmError(f"{path.name} does not exist: check the path.") from error
    except IsADirectoryError as error:
        raise FilmError(f"{path.name} is a folder: give one film.") from error
    except OSError as error:
        raise FilmError(
            f"{path.name} cannot be opened ({error.strerror}): check the path and its permissions."
        ) from error
    if not start:
        raise FilmError(f"{path.name} is empty (0 bytes): copy or export the film again.")
    return start


def _reader(path: Path, start: bytes) -> Callable[[Path], Film]:
    if not is_dicom(start):
        if start.startswith(_PICTURES):
            return read_raster
        if start.startswith(_ZIP):
            return read_npz
        if is_jsrt(path):
            return read_jsrt
    if is_dicom(start) or path.suffix.lower() in _DICOM_SUFFIXES:  # old DICOM files have no magic
        from adaloraqat.radiograph.dicom import read_dicom  # its import of pydicom is slow

        return read_dicom
    raise FilmError(f"{path.name} is not a film in a known format, whatever its name says: give {KINDS}.")
