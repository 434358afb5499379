"""Label pictures that say who wrote them: people keep their own, drawn by hand, by the same names."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from adaloraqat.files import atomic_path
from adaloraqat.radiograph.masks import QUICK

_KEY, _PROGRAM = "Software", "adaloraqat"  # the keyword is the PNG specification's


def write_labels(path: Path, labels: NDArray[np.uint8]) -> None:
    """Write (H, W) labels as an 8-bit PNG, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    told = PngInfo()
    told.add_text(_KEY, _PROGRAM)
    with atomic_path(path) as temporary:
        Image.fromarray(labels).save(temporary, format="PNG", compress_level=QUICK, pnginfo=told)


def is_ours(path: Path) -> bool:
    """Return whether a file is a label picture that `write_labels` wrote."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return picture.info.get(_KEY) == _PROGRAM
    except (OSError, SyntaxError, ValueError):  # what Pillow says of files that are no PNG
        return False
