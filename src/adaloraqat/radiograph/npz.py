"""Films in NumPy archives: one plain 2-D (or colour) array."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.archive import Archive
from adaloraqat.radiograph.film import Film, check_most, check_size

IMAGE_NAMES = ("image", "imgs", "img", "pixels")
_MASK_NAMES = ("segs", "gts")


def read_npz(path: Path) -> Film:
    """Return the film in the array `image` or `imgs` of an .npz file: (H, W), or (H, W, 3), bright = dense.

    Raises:
        FilmError: no such array, not one film, damaged, too small or too large.
    """
    with Archive(path) as archive:
        array = image_name(archive)
        shape = archive.header(array).shape
        if not is_image(shape):
            raise FilmError(
                f"{path.name} holds an array of the shape {shape}: one film of (height, width) is needed."
            )
        check_size(path.name, *shape[:2])
        return Film.from_array(archive.read(array), path.name)


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
    found = [name for name in IMAGE_NAMES if name in names] or (names if len(names) == 1 else [])
    if not found or found[0] in _MASK_NAMES:
        raise FilmError(
            f"{archive.name} holds no array named image or imgs: save the film under one of these."
        )
    return found[0]


def is_image(shape: tuple[int, ...]) -> bool:
    """Tell whether an array's shape is one grey (H, W) or colour (H, W, 3|4) image."""
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))


def is_segmentation(path: Path) -> bool:
    """Tell whether a file is an .npz that holds masks alone, as this tool writes them."""
    if not path.is_file():  # a pipe of that name would be waited for
        return False
    try:
        with Archive(path) as archive:
            return bool(archive.names()) and set(archive.names()) <= set(_MASK_NAMES)
    except FilmError:
        return False
