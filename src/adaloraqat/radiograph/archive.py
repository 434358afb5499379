"""Arrays in NumPy archives (.npz), read without trust and written the same way each time.

Nothing is unpickled. A shape is known, and judged, before its pixels are decompressed, and an archive that
promises other than it holds (a zip bomb, a file cut short) is refused.
"""

import math
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaloraqat.errors import FilmError, OutputError
from adaloraqat.files import atomic_path

IN_MEMORY = 64 << 20
"""Bytes; an array larger than this is laid on disk and mapped, where a folder for it is given."""

_PIECE = 1 << 20  # bytes written at a time
_SUFFIX = ".npy"
_DATE = (1980, 1, 1, 0, 0, 0)  # the zip format's first day: equal content gives equal bytes


class Header(NamedTuple):
    """What an array says of itself before its values are read."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]


class Archive:
    """An .npz file opened for reading; use as a context manager.

    Raises:
        FilmError: on opening or reading, a file that is no archive, damaged, cut short, or holds objects.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path

    def __enter__(self) -> "Archive":
        try:
            self._zip = zipfile.ZipFile(self._path)
        except Exception as error:  # zipfile answers damaged bytes with many exceptions
            raise self._unreadable() from error
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def names(self) -> list[str]:
        """Names of the arrays, in the file's order."""
        found = [name for name in self._zip.namelist() if name.endswith(_SUFFIX)]
        return [name.removesuffix(_SUFFIX) for name in found]

    def header(self, array: str) -> Header:
        """Shape and type of an array, without its values; real numbers only."""
        try:
            with self._zip.open(array + _SUFFIX) as stream:
                header, start = _read_header(stream)
            size = self._zip.getinfo(array + _SUFFIX).file_size
        except Exception as error:
            raise self._unreadable() from error
        if header.dtype.hasobject:
            raise FilmError(
                f"{array} in {self.name} holds pickled Python objects, which are never loaded: "
                "save it as a plain array of numbers."
            )
        if header.dtype.kind not in "buif":
            raise FilmError(f"{array} in {self.name} holds {header.dtype} values: real numbers are needed.")
        if size != start + math.prod(header.shape) * header.dtype.itemsize:
            raise self._unreadable()
        return header

    def read(self, array: str, folder: Path | None = None) -> NDArray[Any]:
        """Return an array; a large one mapped read-only from a file in `folder`, where one is given.

        Raises:
            OutputError: there is no space in `folder`.
        """
        header = self.header(array)
        large = math.prod(header.shape) * header.dtype.itemsize > IN_MEMORY
        try:
            with self._zip.open(array + _SUFFIX) as stream:
                if folder is not None and large:
                    return _spool(stream, folder / f"{array}.raw")
                return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
        except (OutputError, MemoryError):
            raise
        except Exception as error:
            raise self._unreadable() from error

    def _unreadable(self) -> FilmError:
        return FilmError(f"{self.name} is not a readable .npz file, or is cut short: save it again.")


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays of numbers as a compressed .npz file, atomically; equal arrays give equal bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(name + _SUFFIX, _DATE)
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as stream:
                _write_array(stream, array)


def _write_array(stream: IO[bytes], array: NDArray[Any]) -> None:
    """As NumPy writes it, in smaller pieces: a mapped array is never in memory as a whole."""
    if array.nbytes <= _PIECE or not array.flags.c_contiguous:
        np.lib.format.write_array(stream, array, allow_pickle=False)
        return
    np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
    values = array.reshape(-1)
    step = _PIECE // array.itemsize
    for start in range(0, values.size, step):
        stream.write(values[start : start + step].tobytes())


def no_temporary_space() -> OutputError:
    """Return what to raise where a large volume does not fit into the folder for temporary files."""
    return OutputError(
        "The folder for temporary files cannot hold this volume: free some space there, or set TMPDIR to a "
        "larger folder."
    )


def _read_header(stream: IO[bytes]) -> tuple[Header, int]:
    """Header, and how many bytes it took; raises ValueError where there is none."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return Header(tuple(shape), fortran, dtype), stream.tell()


def _spool(stream: IO[bytes], target: Path) -> NDArray[Any]:
    header, _ = _read_header(stream)
    try:
        with open(target, "wb") as raw:
            shutil.copyfileobj(stream, raw, 1 << 20)
    except zipfile.BadZipFile:
        raise
    except OSError as error:
        raise no_temporary_space() from error
    order: Literal["F", "C"] = "F" if header.fortran else "C"
    return np.memmap(target, dtype=header.dtype, mode="r", shape=header.shape, order=order)
