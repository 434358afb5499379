"""Write a picture as PNG, atomically."""

import os
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from adaloraqat.files import atomic_path

QUICK = 4
"""Compression of masks and overlays, which are many: less than the usual 6, so sooner written."""


def write_png(
    path: str | os.PathLike[str], picture: NDArray[Any] | Image.Image, compress_level: int = 6
) -> None:
    """Write a picture, or pixels (H, W) of 8 or 16 bits or (H, W, 3) of 8, as PNG, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", compress_level=compress_level)
