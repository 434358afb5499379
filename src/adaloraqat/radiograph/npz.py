"""Films in NumPy archives: one plain 2-D (or colour) array."""

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import Film, check_size

_NAMES = ("image", "imgs", "img", "pixels")


def read_npz(path: Path) -> Film:
    """Return the film in the array `image` or `imgs` of an .npz file: (H, W), or (H, W, 3), bright = dense.

    Raises:
        FilmError: no such array, not one film, damaged, too small or too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            found = [name for name in _NAMES if name in names] or (names if len(names) == 1 else [])
            if not found:
                raise FilmError(
                    f"{path.name} holds no array named image or imgs: save the film under one of these."
                )
            with archive.open(f"{found[0]}.npy") as stream:
                _check_shape(stream, path.name)
            with archive.open(f"{found[0]}.npy") as stream:
                array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    except FilmError:
        raise
    except Exception as error:  # zip, zlib and NumPy answer damaged bytes with many exceptions
        raise FilmError(
            f"{path.name} is not a readable .npz file, or is cut short: save it again."
        ) from error
    return Film.from_array(array, path.name)


def _check_shape(stream: IO[bytes], name: str) -> None:
    """Refuse by the header, before memory is taken."""
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape = header(stream)[0]
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4)):
        check_size(name, *shape[:2])
    else:
        raise FilmError(f"{name} holds an array of the shape {shape}: one film of (height, width) is needed.")
