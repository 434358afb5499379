"""One chest X-ray as a value: read it, find its place on the model's grid and back, write its mask.

Importing this room costs NumPy and Pillow; pydicom is imported by the first DICOM file.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from adaloraqat.radiograph.film import Film
from adaloraqat.radiograph.folder import find_films
from adaloraqat.radiograph.formats import read_film, read_header
from adaloraqat.radiograph.formats.png import write_png
from adaloraqat.radiograph.geometry import Box
from adaloraqat.radiograph.masks import (
    HEART,
    LEFT_LUNG,
    RIGHT_LUNG,
    read_labels,
    read_mask,
    write_mask,
    write_overlay,
)
from adaloraqat.radiograph.preprocess import Frame, Preprocessing

__all__ = [
    "HEART",
    "LEFT_LUNG",
    "RIGHT_LUNG",
    "Box",
    "Film",
    "Frame",
    "Preprocessing",
    "find_films",
    "read_film",
    "read_header",
    "read_labels",
    "read_mask",
    "write_mask",
    "write_overlay",
    "write_png",
]

_MOVED = ("Case", "VolumeBox", "is_case", "open_case", "write_npz")

if not TYPE_CHECKING:  # a type checker shall still miss names that are nowhere

    def __getattr__(name: str) -> Any:
        """Give what moved to `adaloraqat.challenge`, with a warning; it goes with the next version."""
        if name not in _MOVED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        warnings.warn(
            f"{__name__}.{name} is adaloraqat.challenge.{name} now.", DeprecationWarning, stacklevel=2
        )
        return getattr(import_module("adaloraqat.challenge"), name)
