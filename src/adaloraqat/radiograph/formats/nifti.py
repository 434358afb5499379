"""NIfTI: 2-D films as research tools save them. Read with nibabel, which the extra `nifti` installs.

The format has no rule for pictures: SimpleITK and nnU-Net save the columns first, others the rows. The film's
content tells which it is; in doubt columns come first.
"""

import gzip
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.errors import FilmError, refused_as
from adaloraqat.extras import install
from adaloraqat.radiograph.film import Film, check_size, possible_spacing, scaled
from adaloraqat.radiograph.formats.base import Format, Header
from adaloraqat.radiograph.inverted import chest_likeness

_LEAST_DIFFERENCE = 0.1  # between two ways to lie, in `chest_likeness`
_MILLIMETRES = 2  # NIFTI_UNITS_MM
_HEADER = 348  # bytes of NIfTI-1's
_PACKED, _GZIP = b"\x1f\x8b\x08", 31  # the mark of gzip, and zlib's number of it


class Nifti(Format):
    """NIfTI-1 and NIfTI-2, one file, packed or not; one film of (columns, rows) or (rows, columns)."""

    suffixes = frozenset({".nii", ".nii.gz"})

    def sniff(self, start: bytes) -> bool:
        """See `Format.sniff`; a packed file shows its mark only unpacked."""
        if start.startswith(_PACKED):
            try:
                start = zlib.decompressobj(_GZIP).decompress(start, _HEADER)
            except zlib.error:
                return False
        return _version(start) is not None

    def claims(self, path: Path) -> bool:
        """See `Format.claims`: so that damaged ones are named."""
        return path.name.lower().endswith((".nii", ".nii.gz"))

    def holds_film(self, path: Path) -> bool:
        """See `Format.holds_film`: a folder's files are tried only where something reads them."""
        return find_spec("nibabel") is not None

    def header(self, path: Path) -> Header:
        """See `Format.header`; the pixels are read, because only they tell which sides are rows."""
        film = self.read(path)
        return Header(film.shape, film.spacing_mm)

    def read(self, path: Path) -> Film:
        """See `Format.read`."""
        try:
            import nibabel
        except ImportError as error:
            raise FilmError(f"{path.name} is NIfTI, which needs nibabel: run {install('nifti')}.") from error
        with refused_as(
            FilmError(f"{path.name} is not a readable NIfTI file, or is truncated: save it again.")
        ):
            if self.claims(path):
                return film_of_nifti(nibabel.load(path), path.name)
            with open(path, "rb") as stream:
                packed = stream.read(len(_PACKED)) == _PACKED
            with gzip.open(path) if packed else open(path, "rb") as stream:
                version = _version(stream.read(_HEADER))
                stream.seek(0)
                kind = nibabel.Nifti2Image if version == 2 else nibabel.Nifti1Image
                return film_of_nifti(kind.from_stream(stream), path.name)  # its numbers are read from there


def _version(start: bytes) -> int | None:
    """Return which NIfTI begins so, 1 or 2, in one file; None for anything else."""
    if len(start) >= _HEADER and start[344:348] == b"n+1\0":
        return 1
    return 2 if start[4:12] == b"n+2\0\r\n\x1a\n" else None


def film_of_nifti(image: Any, name: str) -> Film:
    """Return the film of a nibabel image; `name` begins the sentence of an error.

    Raises:
        FilmError: a volume, or not a usable film.
    """
    shape = tuple(side for side in image.shape if side != 1) or tuple(image.shape)
    if len(shape) != 2:
        raise FilmError(f"{name} holds an array of the shape {tuple(image.shape)}: one film is needed.")
    check_size(name, *shape)
    with refused_as(FilmError(f"{name} is damaged or truncated: save it again.")):
        values = np.asarray(image.dataobj).reshape(shape)
        sides = [
            float(side)
            for side, count in zip(image.header.get_zooms(), image.shape, strict=False)
            if count != 1
        ]
        units = int(image.header["xyzt_units"]) & 7
    if values.dtype.kind not in "buif":
        raise FilmError(f"{name} holds {values.dtype} values: real numbers are needed.")
    turned, pixels = _upright(scaled(values, name))
    row, column = (sides[1], sides[0]) if turned else (sides[0], sides[1])
    notice = "The NIfTI file does not say which of its axes are rows: " + (
        "columns are assumed to come first." if turned else "rows are assumed to come first."
    )
    spacing = possible_spacing((row, column), pixels.shape) if units == _MILLIMETRES else None
    aspect = row / column if row > 0 and column > 0 and 0.25 <= row / column <= 4 else 1.0
    return Film(pixels, spacing, notices=(notice,), aspect=aspect)


def _upright(values: NDArray[np.float32]) -> tuple[bool, NDArray[np.float32]]:
    """Return whether columns come first, and (H, W) pixels: the way to lie that is most like a chest film."""
    ways = [(True, values.T), (True, values.T[::-1]), (False, values), (False, values[::-1])]
    likeness = [chest_likeness(pixels) for _, pixels in ways]
    best = int(np.argmax(likeness))
    turned, pixels = ways[best if likeness[best] > likeness[0] + _LEAST_DIFFERENCE else 0]
    return turned, np.ascontiguousarray(pixels)
