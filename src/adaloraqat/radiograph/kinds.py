"""What kind of file a film lies in: its content tells, its name only where the content has no mark."""

import os
import stat
from enum import Enum
from pathlib import Path

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.jsrt_img import is_jsrt

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
"""What the names of pictures end in, in small letters."""

DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima"})
"""What the names of DICOM files end in, where they end in anything."""

FILM_SUFFIXES = PICTURE_SUFFIXES | DICOM_SUFFIXES | {".npz", ".img"}
"""What the names of films end in: what a folder is searched for."""

KINDS = "PNG, JPEG, TIFF, BMP, DICOM or npz"
"""The kinds of file that are read, for sentences."""

_PICTURES = (b"\x89PNG", b"\xff\xd8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM")
_ZIP = b"PK\x03\x04"
_DICOM = b"DICM"
_DICOM_AT = 128  # what comes before it is free: it may look like a picture


class Kind(Enum):
    """Who can read a file."""

    PICTURE = "picture"
    DICOM = "DICOM"
    NPZ = "npz"
    JSRT = "raw JSRT"


def kind_of(path: Path) -> Kind:
    """Return of what kind a film's file is; it may still be damaged, or hold no film.

    Raises:
        FilmError: the file is missing, empty, cannot be opened, no regular file, or of no kind that is read.
    """
    start = _start(path)
    if start[_DICOM_AT:] == _DICOM:
        return Kind.DICOM
    if start.startswith(_PICTURES):
        return Kind.PICTURE
    if start.startswith(_ZIP):
        return Kind.NPZ
    if is_jsrt(path):
        return Kind.JSRT
    if path.suffix.lower() in DICOM_SUFFIXES:  # old DICOM files have no magic
        return Kind.DICOM
    raise FilmError(f"{path.name} is not a film in a known format, whatever its name says: give {KINDS}.")


def _start(path: Path) -> bytes:
    try:
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe would wait for ever
            raise FilmError(f"{path.name} is a pipe, a socket or a device: give a film's file.")
        with open(path, "rb") as stream:
            start = stream.read(_DICOM_AT + len(_DICOM))
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
