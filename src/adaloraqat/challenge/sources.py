"""The challenge's sources of training data; `datasets.sources` lists them.

Its own files are .npz: `imgs` (H, W, 3) or (H, W) with `gts` (H, W), or for volumes `imgs` (D, H, W) with
`gts` (D, H, W) and `spacing`; intensities 0 to 255, `gts` one number per object. Layout: the data README of
the challenge (https://www.codabench.org/competitions/1847; `npz_train` of bowang-lab/MedSAM, branch
LiteMedSAM), which PaulCalot/MedSAM-Laptop keeps as `DataReadMe.md`. Names begin with the modality and the
data set: `XRay_COVID-QU-Ex-lungMask_Lung...`, `XRay_Pneumothorax-Masks_...`.

An image is its own film; of a volume each slice with an object becomes a film `<stem>-z012`, written as PNG,
and all slices are one patient. A mask is the union of a file's objects.

Of several modalities: a folder each, with a folder `images/` and `masks/` for every data set below it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.folder import list_folder
from adaloraqat.datasets.listing import Drawn, Listed, Listing, Shape, files_below, left_out
from adaloraqat.datasets.manifest import LUNG_KINDS
from adaloraqat.datasets.names import patient_in
from adaloraqat.datasets.sources import SOURCES
from adaloraqat.errors import FilmError, ManifestError
from adaloraqat.radiograph.formats.npz import Archive, image_name, is_image

_MODALITY = re.compile(r"(?:[23]DBox_)?([A-Za-z]+)_")
# the first that fits counts: infection masks of COVID-QU-Ex have lungMask in their name too
_KINDS = ((r"infection", "infection"), (r"pneumothorax", "pneumothorax"), (r"lung|radiography", "lungs"))


@dataclass(frozen=True)
class Objects:
    """The union of all objects of a file, or of its slice `z`."""

    path: Path
    z: int | None = None

    def draw(self, shape: Shape) -> Drawn:
        """See `MaskSource.draw`."""
        labels = _array(self.path, "gts")
        mask = (labels if self.z is None else labels[self.z]) > 0
        if mask.shape != shape:
            raise FilmError(
                f"The gts of {self.path.name} are on another grid than its imgs: save both alike."
            )
        return Drawn(mask)


def list_medsam_npz(root: Path, kind: str | None) -> Listing:
    """List images, and slices of volumes, that have objects. `kind` None: as each file's name says.

    Raises:
        ManifestError: no .npz file holds imgs and gts, or none of `kind`.

    """
    listed: list[Listed] = []
    without: list[str] = []
    others: list[str] = []
    failures: list[str] = []
    for path in files_below(root, {".npz"}):
        said = _kind_in(path.relative_to(root))
        if kind and said and said != kind and not (kind in LUNG_KINDS and said == "lungs"):
            others.append(path.name)
            continue
        try:
            films = _films(path, kind or said)
        except FilmError as error:
            failures.append(str(error))
            continue
        listed += films
        if not films:
            without.append(path.name)
    if not listed:
        reason = (
            failures[0]
            if failures
            else f"{len(others)} files outline something other than {kind or 'objects'}"
        )
        raise ManifestError(f"{root.name} holds no .npz file with imgs and gts that could be used: {reason}")
    notices = left_out("file", without, "without an object")
    notices += left_out("file", others, f"because it does not outline {kind}")
    return Listing(tuple(listed), tuple(notices), tuple(failures))


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


def _films(path: Path, kind: str | None) -> list[Listed]:
    with Archive(path) as archive:
        if "gts" not in archive.names():
            return []
        images, labels = archive.header(image_name(archive)).shape, archive.header("gts").shape
    modality = _MODALITY.match(path.stem)
    film = partial(
        Listed,
        source="medsam_npz",
        patient_id=patient_in(path.stem) or path.stem,
        outlines=kind,
        licence=SOURCES["medsam_npz"].licence,
        modality=modality[1] if modality else None,
    )
    if is_image(images):
        return [film(id=path.stem, image=path, mask=Objects(path))]
    if len(labels) != 3 or labels != images[:3]:
        raise FilmError(f"The gts of {path.name} are on another grid than its imgs: save both alike.")
    filled = np.flatnonzero(_array(path, "gts").any(axis=(1, 2)))
    return [
        film(id=f"{path.stem}-z{z:03d}", image=_slice(path, int(z)), mask=Objects(path, int(z)))
        for z in filled
    ]


def _slice(path: Path, z: int) -> Callable[[], NDArray[np.uint8]]:
    def pixels() -> NDArray[np.uint8]:
        values = _array(path, None)[z]
        grey = values[..., :3].mean(axis=-1) if values.ndim == 3 else values
        return np.clip(np.rint(grey), 0, 255).astype(np.uint8)

    return pixels


@lru_cache(maxsize=2)  # slices come one after the other: the volume is decompressed once
def _array(path: Path, name: str | None) -> NDArray[Any]:
    with Archive(path) as archive:
        return archive.read(name or image_name(archive))


def _kind_in(place: Path) -> str | None:
    """Return what the names of a file and its folders, relative to the source, say that it outlines."""
    return next((kind for pattern, kind in _KINDS if re.search(pattern, str(place), re.IGNORECASE)), None)


def _named(film: Listed, modality: str, data_set: str) -> Listed:
    """Return the film with its modality; a patient who is known by name keeps it within the data set."""
    prefix = f"{modality}-{data_set}"
    patient = film.patient_id and f"{prefix}-{film.patient_id}"
    return replace(film, id=f"{prefix}-{film.id}", patient_id=patient, modality=modality)
