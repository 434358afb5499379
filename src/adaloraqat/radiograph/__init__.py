"""One chest X-ray as a value: read it, find its place on the model's grid and back, write its mask.

Importing this room costs NumPy and Pillow; pydicom is imported by the first DICOM file.
"""

from typing import TYPE_CHECKING

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
from adaloraqat.renamed import renamed_names

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

if not TYPE_CHECKING:  # a type checker shall still miss names that are nowhere
    __getattr__ = renamed_names(
        __name__,
        {
            name: f"adaloraqat.challenge.{name}"
            for name in ("Case", "VolumeBox", "is_case", "open_case", "write_npz")
        },
    )
