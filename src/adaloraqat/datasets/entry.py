"""One film of a data set, with its mask, its patient and its split."""

from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Entry:
    """One film of a manifest.

    `split` is "train", "val", "test" or None (not assigned). `spacing_mm` is (row, column) in mm a pixel, or
    None where unknown. Paths are absolute. `id` is unique in its manifest; a patient is never divided between
    splits, so `patient_id` is the unit of every split.
    """

    id: str
    source: str
    patient_id: str
    split: str | None
    path_image: Path
    path_mask: Path
    path_labels: Path | None = None
    spacing_mm: tuple[float, float] | None = None
