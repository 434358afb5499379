"""The formats that films come in, in one list, and reading one; a file's content tells which, not its name.

To add a format: a class of its own in a file of its own here, and its place in `FORMATS`.
"""

import os
import stat
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import Film
from adaloraqat.radiograph.formats.base import Bmp, Format, Header, Picture, WebP, opened, quiet
from adaloraqat.radiograph.formats.dicom import Dicom
from adaloraqat.radiograph.formats.inputs import FilmSource, as_file, film_of_object
from adaloraqat.radiograph.formats.jpeg import Jpeg
from adaloraqat.radiograph.formats.jsrt import Jsrt
from adaloraqat.radiograph.formats.nifti import Nifti
from adaloraqat.radiograph.formats.npz import Npz
from adaloraqat.radiograph.formats.png import Png
from adaloraqat.radiograph.formats.tiff import Tiff
from adaloraqat.radiograph.inverted import righted

PICTURES: tuple[Picture, ...] = (Png(), Jpeg(), Tiff(), Bmp(), WebP())
"""The formats that Pillow decodes, of films, masks and labels."""

FORMATS: tuple[Format, ...] = (Dicom(), *PICTURES, Npz(), Nifti(), Jsrt())
"""Every format. DICOM comes first: what stands before its mark is free, and may look like a picture."""

KINDS = "PNG, JPEG, TIFF, BMP, WebP, DICOM, NIfTI or npz"
"""The formats, for sentences."""

_START = 512  # bytes: the longest way to a mark, that of packed NIfTI


def _suffixes(formats: Iterable[Format]) -> frozenset[str]:
    return frozenset(suffix for form in formats for suffix in form.suffixes)


PICTURE_SUFFIXES = _suffixes(PICTURES)
"""What the names of pictures end in, in small letters."""

DICOM_SUFFIXES = Dicom.suffixes
"""What the names of DICOM files end in, where they end in anything."""

FILM_SUFFIXES = _suffixes(FORMATS)
"""What the names of films end in."""

ONE_FILM_SUFFIXES = PICTURE_SUFFIXES | DICOM_SUFFIXES
"""What ends the names of files that hold one film and nothing else: they need not be opened to know it."""

PILLOW_NAMES = tuple(form.pillow[0] for form in PICTURES)
"""What Pillow may open a picture as, see `base.opened`."""

FilmLike = FilmSource | Film | NDArray[Any]
"""What stands for a film in Python: what `read_film` takes, a film that was read, or its pixels."""

READ_AHEAD = 2
"""Films that `read_ahead` reads before they are needed."""

_BY_PILLOW_NAME = {name: form for form in PICTURES for name in form.pillow}


def read_film(source: FilmSource) -> Film:
    """Return the film in a PNG, JPEG, TIFF, BMP, WebP, DICOM, NIfTI or npz file; inverted ones are righted.

    Args:
        source: a path; or a file's bytes, or a file opened for reading bytes; or a PIL image, a pydicom
            Dataset or a nibabel image.

    Raises:
        FilmError: the file is missing, empty, damaged, of another kind, or not one usable film; or `source`
            is of another type.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return righted(format_of(path).read(path))
    if isinstance(source, bytes | bytearray | memoryview) or callable(getattr(source, "read", None)):
        with as_file(source) as path:
            return righted(format_of(path).read(path))
    return righted(film_of_object(source))


def as_film(film: FilmLike) -> Film:
    """Return the film itself, or read it; a 2-D array is taken as `Film.from_array` says.

    Raises:
        FilmError: it cannot be read.
    """
    if isinstance(film, Film):
        return film
    if isinstance(film, np.ndarray):
        return Film.from_array(film)
    return read_film(film)


def read_ahead(films: Iterable[FilmLike]) -> Generator[Future[Film], None, None]:
    """Give films in their order; `READ_AHEAD` more are being read in a thread while one is used.

    Closing the iterator ends the thread. The result of one that cannot be read raises its `FilmError`. What
    `films` itself raises comes when all that it gave before have been given.
    """
    source = iter(films)
    reader = ThreadPoolExecutor(1, thread_name_prefix="adaloraqat-reader")
    ahead: deque[Future[Film]] = deque()
    broken: list[Exception] = []

    def read(count: int) -> None:
        try:
            ahead.extend(reader.submit(as_film, film) for film in islice(source, 0 if broken else count))
        except Exception as error:
            broken.append(error)

    try:
        read(READ_AHEAD)
        while ahead:
            reading = ahead.popleft()
            read(1)
            yield reading
        if broken:
            raise broken[0]
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


def read_header(path: str | os.PathLike[str]) -> Header:
    """Return what the header of a film says; the pixels are not looked at and may still be damaged.

    Raises:
        FilmError: no such file, of a kind that `read_film` does not read, or with an unreadable header.
    """
    path = Path(path)
    return format_of(path).header(path)


def format_of(path: Path) -> Format:
    """Return the format of a film's file; it may still be damaged, or hold no film.

    Raises:
        FilmError: the file is missing, empty, cannot be opened, no regular file, or in no known format.
    """
    start = _start(path)
    found = next((form for form in FORMATS if form.sniff(start)), None)
    found = found or next((form for form in FORMATS if form.claims(path)), None)
    if found is None:
        raise FilmError(f"{path.name} is not a film in a known format, whatever its name: give {KINDS}.")
    return found


def open_picture(path: Path) -> tuple[Image.Image, list[str]]:
    """Return a decoded picture (of a film, a mask, labels), upright, and what was decided on the way.

    Raises:
        FilmError: not a picture, damaged, or too large (refused before decoding).
    """
    with quiet(), opened(path, PILLOW_NAMES) as image:
        return _BY_PILLOW_NAME[str(image.format)].decoded(path, image)


def picture_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of a picture file, upright as `open_picture` gives it, from its header alone.

    Raises:
        FilmError: not a picture, or a damaged header.
    """
    with quiet(), opened(path, PILLOW_NAMES) as image:
        return _BY_PILLOW_NAME[str(image.format)].size(image)


def _start(path: Path) -> bytes:
    try:
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe would wait forever
            raise FilmError(f"{path.name} is a pipe, a socket or a device: give a film's file.")
        with open(path, "rb") as stream:
            start = stream.read(_START)
    except FileNotFoundError as error:
        raise FilmError(f"{path.name} does not exist: check the path.") from error
    except ValueError as error:  # a NUL, which no file's name holds
        raise FilmError(f"{path.name!r} cannot be the name of a file: check the path.") from error
    except IsADirectoryError as error:
        raise FilmError(f"{path.name} is a folder: give one film.") from error
    except OSError as error:
        raise FilmError(
            f"{path.name} cannot be opened ({error.strerror}): check the path and its permissions."
        ) from error
    if not start:
        raise FilmError(f"{path.name} is empty (0 bytes): copy or export the film again.")
    return start
