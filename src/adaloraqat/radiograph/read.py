"""Read one film, whatever its format; the content decides, not the name."""

import os
from pathlib import Path

from adaloraqat.radiograph.film import Film
from adaloraqat.radiograph.inverted import righted
from adaloraqat.radiograph.jsrt_img import read_jsrt
from adaloraqat.radiograph.kinds import Kind, kind_of
from adaloraqat.radiograph.npz import read_npz
from adaloraqat.radiograph.raster import read_raster


def read_film(path: str | os.PathLike[str]) -> Film:
    """Return the film in a PNG, JPEG, TIFF, BMP, DICOM or npz file; inverted ones are righted.

    Raises:
        FilmError: the file is missing, empty, damaged, of another kind, or not one usable film.
    """
    path = Path(path)
    return righted(_READERS[kind_of(path)](path))


def _read_dicom(path: Path) -> Film:
    from adaloraqat.radiograph.dicom import read_dicom  # its import of pydicom is slow

    return read_dicom(path)


_READERS = {Kind.PICTURE: read_raster, Kind.DICOM: _read_dicom, Kind.NPZ: read_npz, Kind.JSRT: read_jsrt}
