"""The artefact on disk, and the Segmenter that runs it."""

from adaloraqat.bundle.format import Bundle, load_bundle, write_bundle
from adaloraqat.bundle.segmenter import Segmentation, Segmenter
from adaloraqat.bundle.shipped import DEFAULT_MODEL, shipped_base, shipped_names

__all__ = [
    "DEFAULT_MODEL",
    "Bundle",
    "Segmentation",
    "Segmenter",
    "load_bundle",
    "shipped_base",
    "shipped_names",
    "write_bundle",
]
