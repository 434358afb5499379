"""A manifest as a source: moved to another place, or with masks brought onto their films' grids."""

from collections.abc import Callable
from pathlib import Path

from adaloraqat.datasets.listing import Listed, Listing, Shape
from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.errors import ManifestError


def list_manifest(path: Path, kind: str | None) -> Listing:
    """List a manifest's films; where `kind` is given, a row that says nothing of its mask takes it.

    Raises:
        ManifestError: the manifest cannot be read, or says that its masks outline something else.

    """
    entries = read_manifest(path)
    other = next((entry.outlines for entry in entries if kind and entry.outlines not in (None, kind)), None)
    if other:
        raise ManifestError(f"{path.name} says that its masks outline {other}, not {kind}.")
    films = [
        Listed(
            id=entry.id,
            source=entry.source,
            image=entry.path_image,
            mask=entry.path_mask,
            patient_id=entry.patient_id,
            split=entry.split,
            path_labels=entry.path_labels,
            spacing_of=_constant(entry.spacing_mm),
            outlines=entry.outlines or kind,
            diagnosis=entry.diagnosis,
            licence=entry.licence,
            view=entry.view,
            modality=entry.modality,
            others=entry.others,
        )
        for entry in entries
    ]
    return Listing(tuple(films))


def _constant(spacing: tuple[float, float] | None) -> Callable[[Shape], tuple[float, float] | None]:
    return lambda _: spacing
