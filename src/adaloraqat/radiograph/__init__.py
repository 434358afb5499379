"""One chest X-ray as a value: read it, find its place on the model's grid and back, write its mask.

Importing this room costs NumPy and Pillow; pydicom is imported by the first DICOM file.
"""

from adaloraqat.radiograph.archive import write_npz
from adaloraqat.radiograph.case import Case, VolumeBox, is_case, open_case
from adaloraqat.radiograph.film import Film
from adaloraqat.radiograph.folder import find_films
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
from adaloraqat.radiograph.png import write_png
from adaloraqat.radiograph.preprocess import Frame, Preprocessing
from adaloraqat.radiograph.read import read_film

__all__ = [
    "HEART",
    "LEFT_LUNG",
    "RIGHT_LUNG",
    "Box",
    "Case",
    "Film",
    "Frame",
    "Preprocessing",
    "VolumeBox",
    "find_films",
    "is_case",
    "open_case",
    "read_film",
    "read_labels",
    "read_mask",
    "write_mask",
    "write_npz",
    "write_overlay",
    "write_png",
]
