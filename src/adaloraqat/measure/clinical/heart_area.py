"""The area of the heart."""

from adaloraqat.bundle.segmentation import Structures


def heart_area_of(found: Structures, spacing_mm: tuple[float, float] | None) -> int:
    """Return the heart's area in pixels of the film.

    Args:
        found: the structures of one film.
        spacing_mm: not needed.
    """
    return int(found.heart.sum())
