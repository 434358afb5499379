"""What tests need to build a published archive in miniature."""

from pathlib import Path

import numpy as np
from PIL import Image

from adaloraqat.datasets.index import index_films
from adaloraqat.datasets.sources import find_source

GREY = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


def block(top: int, left: int, bottom: int, right: int, side: int = 32) -> np.ndarray:
    """A mask of 0 and 255 that is set in one rectangle."""
    mask = np.zeros((side, side), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def indexed(source: str, root: Path, out: Path, mask: str | None = None):
    """Entries by id, and all that was said."""
    listing = find_source(source).listing(root, mask)
    prepared = index_films(listing, out / "films.csv")
    return {entry.id: entry for entry in prepared.entries}, (*listing.notices, *prepared.failures)
