"""The large arrays of cases, from NumPy archives (.npz) and back: never in memory as a whole."""

import math
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from adaloraqat.errors import OutputError
from adaloraqat.files import atomic_path
from adaloraqat.radiograph.formats.npz import Archive, read_array_header

IN_MEMORY = 64 << 20
"""Bytes; an array larger than this is laid on disk and mapped."""

_PIECE = 1 << 20  # bytes written at a time
_DATE = (1980, 1, 1, 0, 0, 0)  # the zip format's first day: equal content gives equal bytes


def read_array(archive: Archive, array: str, folder: Path) -> NDArray[Any]:
    """Return an array; a large one mapped read-only from a file in `folder`.

    Raises:
        FilmError: the archive is damaged.
        OutputError: there is no space in `folder`.
    """
    header = archive.header(array)
    if math.prod(header.shape) * header.dtype.itemsize <= IN_MEMORY:
        return archive.read(array)
    with archive.stream(array) as stream:
        return _spool(stream, folder / f"{array}.raw")


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays of numbers as a compressed .npz file, atomically; equal arrays give equal bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", _DATE)
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as stream:
                _write_array(stream, array)


def no_temporary_space() -> OutputError:
    """Return what to raise where a large volume does not fit into the folder for temporary files."""
    return OutputError(
        "The folder for temporary files cannot hold this volume: free some space there, or set TMPDIR to a "
        "larger folder."
    )


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


def _spool(stream: IO[bytes], target: Path) -> NDArray[Any]:
    header = read_array_header(stream)
    try:
        with open(target, "wb") as raw:
            shutil.copyfileobj(stream, raw, _PIECE)
    except zipfile.BadZipFile:
        raise
    except OSError as error:
        raise no_temporary_space() from error
    order: Literal["F", "C"] = "F" if header.fortran else "C"
    return np.memmap(target, dtype=header.dtype, mode="r", shape=header.shape, order=order)
