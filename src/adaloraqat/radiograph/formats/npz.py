"""NumPy archives (.npz): films and masks in one plain array of numbers, read without trust.

Nothing is unpickled. A shape is known, and judged, before its pixels are decompressed, and an archive that
promises other than it holds (a zip bomb, a file truncated) is refused.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaloraqat.errors import FilmError, refused_as
from adaloraqat.radiograph.film import Film, check_most, check_size
from adaloraqat.radiograph.formats.base import Format, Header

_IMAGE_NAMES = ("image", "imgs", "img", "pixels")
_MASK_NAMES = ("segs", "gts")
_SUFFIX = ".npy"


class Npz(Format):
    """The film in the array `image` or `imgs` of an .npz file: (H, W), or (H, W, 3), bright = dense."""

    suffixes = frozenset({".npz"})
    marks = (b"PK\x03\x04",)

    def holds_film(self, path: Path) -> bool:
        """See `Format.holds_film`; a file of masks alone, as this tool writes them, does not."""
        return not is_segmentation(path)

    def header(self, path: Path) -> Header:
        """See `Format.header`."""
        with Archive(path) as archive:
            shape = archive.header(image_name(archive)).shape
        if not is_image(shape):
            raise FilmError(f"{path.name} holds a volume: one film of (height, width) is needed.")
        return Header((shape[0], shape[1]))

    def read(self, path: Path) -> Film:
        """See `Format.read`."""
        with Archive(path) as archive:
            array = image_name(archive)
            shape = archive.header(array).shape
            if not is_image(shape):
                raise FilmError(
                    f"{path.name} holds an array of the shape {shape}: one film of (height, width) is needed."
                )
            check_size(path.name, *shape[:2])
            return Film.from_array(archive.read(array), path.name)


class ArrayHeader(NamedTuple):
    """What an array says of itself before its values are read."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]


class Archive:
    """An .npz file opened for reading; use as a context manager.

    Raises:
        FilmError: on opening or reading, a file that is not an archive, damaged, truncated, or holds objects.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._unreadable = FilmError(
            f"{self.name} is not a readable .npz file, or is truncated: save it again."
        )

    def __enter__(self) -> "Archive":
        with refused_as(self._unreadable):
            self._zip = zipfile.ZipFile(self._path)
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def names(self) -> list[str]:
        """Names of the arrays, in the file's order."""
        return [name.removesuffix(_SUFFIX) for name in self._zip.namelist() if name.endswith(_SUFFIX)]

    def header(self, array: str) -> ArrayHeader:
        """Shape and type of an array, without its values; real numbers only."""
        with refused_as(self._unreadable):
            with self._zip.open(array + _SUFFIX) as stream:
                header = read_array_header(stream)
                start = stream.tell()
            size = self._zip.getinfo(array + _SUFFIX).file_size
        if header.dtype.hasobject:
            raise FilmError(
                f"{array} in {self.name} holds pickled Python objects, which are never loaded: "
                "save it as a plain array of numbers."
            )
        if header.dtype.kind not in "buif":
            raise FilmError(f"{array} in {self.name} holds {header.dtype} values: real numbers are needed.")
        if size != start + math.prod(header.shape) * header.dtype.itemsize:
            raise self._unreadable
        return header

    def read(self, array: str) -> NDArray[Any]:
        """Return an array."""
        with self.stream(array) as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))

    @contextmanager
    def stream(self, array: str) -> Iterator[IO[bytes]]:
        """Give the bytes of an array whose header is sound, from the header on, to be read within."""
        self.header(array)
        with refused_as(self._unreadable, MemoryError), self._zip.open(array + _SUFFIX) as stream:
            yield stream


def read_array_header(stream: IO[bytes]) -> ArrayHeader:
    """Return the header that an array's bytes begin with, and leave the stream behind it.

    Raises:
        Exception: of many kinds, where there is none.
    """
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return ArrayHeader(tuple(shape), fortran, dtype)


def read_npz_mask(path: Path) -> NDArray[Any]:
    """Return the (H, W) labels in the array `gts`, `segs` or `mask` of an .npz file, or in its only one.

    Raises:
        FilmError: no such array, not one film's, damaged or too large.
    """
    with Archive(path) as archive:
        names = archive.names()
        found = [name for name in (*_MASK_NAMES, "mask", "masks") if name in names]
        if not found and len(names) != 1:
            raise FilmError(
                f"{path.name} holds no array named gts or mask: save the mask under one of these."
            )
        array = (found or names)[0]
        shape = archive.header(array).shape
        if len(shape) != 2 or min(shape) == 0:
            raise FilmError(f"{path.name} holds a mask of the shape {shape}: (height, width) is needed.")
        check_most(path.name, *shape)
        return archive.read(array)


def image_name(archive: Archive) -> str:
    """Return the name of the array that holds the image: `image`, `imgs`, or the only one there is.

    Raises:
        FilmError: there is none.
    """
    names = archive.names()
    found = [name for name in _IMAGE_NAMES if name in names] or (names if len(names) == 1 else [])
    if not found or found[0] in _MASK_NAMES:
        raise FilmError(
            f"{archive.name} holds no array named image or imgs: save the film under one of these."
        )
    return found[0]


def is_image(shape: tuple[int, ...]) -> bool:
    """Return whether an array's shape is one grey (H, W) or colour (H, W, 3|4) image."""
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))


def is_segmentation(path: Path) -> bool:
    """Return whether a file is an .npz that holds masks alone, as this tool writes them."""
    if not path.is_file():  # a pipe of that name would be waited for
        return False
    try:
        with Archive(path) as archive:
            return bool(archive.names()) and set(archive.names()) <= set(_MASK_NAMES)
    except FilmError:
        return False
