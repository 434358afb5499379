"""One film of a data set, with its mask, its patient and its split."""

from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")

MASK_KINDS = {
    "lungs": "both lungs; whether the part behind the heart belongs to them is not documented",
    "lung-field": "the visible lung field, without the heart",
    "whole-lung": "the whole lung, with the part behind the heart",
    "heart": "the heart",
    "clavicles": "both collar bones",
    "infection": "lung opacities of an infection",
    "pneumothorax": "air between lung and chest wall",
}
"""What a mask can outline. A manifest may hold other words too; these are the ones the sources use."""

LUNG_KINDS = ("lungs", "lung-field", "whole-lung")
"""The conventions that answer to a request for lungs; they differ behind the heart, so each has a name."""

FINDING_KINDS = ("infection", "pneumothorax")
"""What a film may be free of: an empty mask of it says that it was looked for and is not there."""


@dataclass(frozen=True)
class Entry:
    """One film of a manifest.

    `split` is "train", "val", "test" or None (not assigned). `spacing_mm` is (row, column) in mm a pixel, or
    None where unknown. Paths are absolute. `id` is unique in its manifest; a patient is never divided between
    splits, so `patient_id` is the unit of every split.

    `outlines` says what the mask outlines: one of `MASK_KINDS`, another word, or None where nothing is said.
    `diagnosis`, `licence` and `view` ("PA", "AP", "lateral", ...) are as the source says, or None.
    `modality` is the kind of image ("CT", "ultrasound", ...), by which training may be balanced; None counts
    as the source. `others` are the columns of its manifest that mean nothing here, as (name, cell): they are
    kept when the manifest is written again.
    """

    id: str
    source: str
    patient_id: str
    split: str | None
    path_image: Path
    path_mask: Path
    path_labels: Path | None = None
    spacing_mm: tuple[float, float] | None = None
    outlines: str | None = None
    diagnosis: str | None = None
    licence: str | None = None
    view: str | None = None
    modality: str | None = None
    others: tuple[tuple[str, str], ...] = ()
