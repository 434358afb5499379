"""What a DICOM header says of view, body part and how the film lies: `Told`. No patient data."""

import re

from pydicom import Dataset

from adaloraqat.radiograph.film import Told
from adaloraqat.radiograph.formats.dicom_elements import values, words

_LATERAL_VIEWS = {
    "LL",
    "RL",
    "LAT",
    "LLAT",
    "RLAT",
    "LATERAL",
    "LEFT LATERAL",
    "RIGHT LATERAL",
    "XTL",
    "ML",
    "LM",
}
_OBLIQUE_VIEWS = {"LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "LO", "RO", "OBL", "OBLIQUE"}
_FRONTAL_VIEWS = {"PA", "AP", "LLD", "RLD"}  # decubitus films are frontal
_LATERAL = re.compile(r"\b(lat|lateral|latero-?lateral|seitlich|profil)\b(?! decub)")
_OBLIQUE = re.compile(r"\boblique\b")
_FRONTAL = re.compile(r"\b(pa|ap|p\.a\.?|a\.p\.?|postero-?anterior|antero-?posterior|frontal|decub\w*)\b")
_FREE_TEXT = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
_CHEST = re.compile(
    r"chest|thora|torax|thx|cxr|lung|pulm|\brib|cost(al|ae)|heart|cardia|torso|trunk|whole ?body|babygram|"
    r"brust"
)
_NO_PART = {"", "UNKNOWN", "OTHER", "NONE", "NA", "N/A", "UNDEFINED", "UNSPECIFIED", "SKULL TO FEET"}


def told_by(dataset: Dataset) -> Told:
    """Return what the header says; nothing where it says nothing, or contradicts itself in free text."""
    orientation = _orientation(dataset)
    return Told(
        view=_view(dataset),
        body_part=_body_part(dataset),
        on_its_side=_is_on_its_side(orientation),
        right_edge=orientation[0] if orientation is not None and orientation[0] in "LR" else None,
    )


def _view(dataset: Dataset) -> str | None:
    position = " ".join(words(dataset, "ViewPosition").upper().replace("_", " ").split())
    if position in _LATERAL_VIEWS:
        return "lateral"
    if position in _OBLIQUE_VIEWS:
        return "oblique"
    if position in _FRONTAL_VIEWS:
        return "frontal"
    coded = words(dataset, "ViewCodeSequence")
    orientation = _orientation(dataset)
    if _OBLIQUE.search(coded):
        return "oblique"
    if _LATERAL.search(coded) or (
        not coded and orientation and orientation[0] in "AP" and orientation[1] in "HF"
    ):
        return "lateral"
    if coded or position:
        return "frontal" if _FRONTAL.search(f"{coded} {position.lower()}") else None
    said = words(dataset, *_FREE_TEXT).replace("_", " ")
    return "lateral" if _LATERAL.search(said) and not _FRONTAL.search(said) else None


def _body_part(dataset: Dataset) -> str | None:
    """Return the word for a part of the body that is not the chest, at most 30 plain letters."""
    part = words(dataset, "BodyPartExamined") or words(dataset, "AnatomicRegionSequence")
    if part.upper() in _NO_PART or _CHEST.search(part):
        return None
    return re.sub(r"[^a-z ]+", " ", part)[:30].strip() or None


def _is_on_its_side(orientation: tuple[str, str] | None) -> bool:
    """Tell by PatientOrientation: the rows of an upright film do not run to the head or the feet."""
    return orientation is not None and orientation[0] in "HF" and orientation[1] not in "HF"


def _orientation(dataset: Dataset) -> tuple[str, str] | None:
    """Return the main direction of rows and of columns: one of A, P, L, R, H, F each."""
    given = [part.strip().upper()[:1] for part in values(dataset, "PatientOrientation")]
    return (
        (given[0], given[1]) if len(given) == 2 and all(part and part in "APLRHF" for part in given) else None
    )
