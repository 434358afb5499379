"""Films that are no files: what a Python program may hold in its memory instead of a path."""

import copy
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from PIL import Image, ImageOps

from adaloraqat.errors import FilmError, refused_as
from adaloraqat.radiograph.film import Film, check_size, scaled
from adaloraqat.radiograph.formats.base import grey_of, quiet

FilmSource = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | Any
"""What `read_film` takes; the last stands for pydicom's Dataset and nibabel's images."""

_ANY_NAME = "film"  # has no suffix: only the content tells what it is


@contextmanager
def as_file(source: bytes | bytearray | memoryview | Any) -> Iterator[Path]:
    """Give bytes, or what is left of an open file, as a file for the time within.

    Raises:
        FilmError: the file is not opened for reading bytes.
    """
    if not isinstance(source, bytes | bytearray | memoryview):
        with refused_as(FilmError("The open file cannot be read: open it with mode 'rb'.")):
            source = source.read()
    if not isinstance(source, bytes | bytearray | memoryview):
        raise FilmError("The open file gives text instead of bytes: open it with mode 'rb'.")
    with tempfile.TemporaryDirectory(prefix="adaloraqat-") as folder:
        path = Path(folder, _ANY_NAME)
        path.write_bytes(source)
        yield path


def film_of_object(source: Any) -> Film:
    """Return the film of a PIL image, a pydicom Dataset or a nibabel image.

    Raises:
        FilmError: it is none of these, or holds no usable film.
    """
    if isinstance(source, Image.Image):
        return _film_of_picture(source)
    if _is_a(source, "pydicom.dataset", "Dataset"):
        return _film_of_dataset(source)
    if _is_a(source, "nibabel.spatialimages", "SpatialImage"):
        from adaloraqat.radiograph.formats.nifti import film_of_nifti

        return film_of_nifti(source, "The image")
    raise FilmError(
        f"A film cannot be made of {type(source).__name__}: give a path, bytes, an open file, a NumPy "
        "array, a PIL image, a pydicom Dataset or a nibabel image."
    )


def _film_of_picture(picture: Image.Image) -> Film:
    with quiet(), refused_as(FilmError("The picture is damaged or truncated: open it again.")):
        check_size("The picture", picture.height, picture.width)
        return Film(scaled(grey_of(ImageOps.exif_transpose(picture)), "The picture"))


def _film_of_dataset(dataset: Any) -> Film:
    from adaloraqat.radiograph.formats.dicom_values import film_of_dataset

    unreadable = FilmError("The data set is not a readable DICOM film: read it again.")
    with quiet(), refused_as(unreadable, MemoryError):
        own = copy.deepcopy(dataset)  # reading corrects elements; the caller's stay as they are
        return film_of_dataset(own, "The data set")


def _is_a(value: Any, module: str, name: str) -> bool:
    """Return whether a value is of a library's type, without importing the library."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))
