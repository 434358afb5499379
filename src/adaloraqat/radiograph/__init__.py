"""One chest X-ray as a value: read it, find its place on the model's grid and back, write its mask.

Importing this room costs NumPy and Pillow; pydicom is imported by the first DICOM file.
"""

from adaloraqat.radiograph.film import Film
from adaloraqat.radiograph.folder import find_films
from adaloraqat.radiograph.geometry import Box
from adaloraqat.radiograph.masks import read_labels, read_mask, write_mask, write_overlay
from adaloraqat.radiograph.preprocess import Frame, Preprocessing
from adaloraqat.radiograph.read import read_film

__all__ = [
    "Box",
    "Film",
    "Frame",
    "Preprocessing",
    "find_films",
    "read_film",
    "read_labels",
    "read_mask",
    "write_mask",
    "write_overlay",
]
