"""Several modalities: a folder each, with a folder `images/` and `masks/` for every data set below it."""

from dataclasses import replace
from pathlib import Path

from adaloraqat.datasets.folder import list_folder
from adaloraqat.datasets.listing import Listed, Listing
from adaloraqat.errors import ManifestError


def list_modalities(root: Path, kind: str | None) -> Listing:
    """List `ROOT/<modality>/<data set>/{images,masks}`, each data set as `list_folder` does.

    The modality is the folder's name, the source the data set's; ids and patients carry both, so that equal
    file names in two data sets stay apart. Folders without `images/` are passed over.

    Raises:
        ManifestError: no data set is there, or one of them is not as `list_folder` wants it.

    """
    films: list[Listed] = []
    notices: list[str] = []
    for images in sorted(root.glob("*/*/images")):
        data_set = images.parent
        modality = data_set.parent.name
        if not images.is_dir() or modality.startswith(".") or data_set.name.startswith("."):
            continue
        listing = list_folder(data_set, kind)
        films += [_named(film, modality, data_set.name) for film in listing.films]
        notices += [f"{modality}/{data_set.name}: {notice}" for notice in listing.notices]
    if not films:
        raise ManifestError(
            f"There is no <modality>/<data set>/images in {root.name}: give the folder above the modalities, "
            "or index a single pair of images/ and masks/ as `folder`."
        )
    return Listing(tuple(films), tuple(notices))


def _named(film: Listed, modality: str, data_set: str) -> Listed:
    """Return the film with its modality; a patient who is known by name keeps it within the data set."""
    prefix = f"{modality}-{data_set}"
    patient = film.patient_id and f"{prefix}-{film.patient_id}"
    return replace(film, id=f"{prefix}-{film.id}", patient_id=patient, modality=modality)
