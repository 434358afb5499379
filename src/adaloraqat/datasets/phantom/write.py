"""Write phantom films as a data set: images, masks, labels and a manifest.

Images are PNG, or DICOM as a digital X-ray unit would send it.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from adaloraqat.datasets.manifest import Entry, write_manifest
from adaloraqat.datasets.phantom.draw import Phantom, draw_phantom, find_site
from adaloraqat.datasets.phantom.site import PhantomSite
from adaloraqat.datasets.split import assign_splits
from adaloraqat.errors import ManifestError
from adaloraqat.files import atomic_path
from adaloraqat.progress import Progress, no_progress
from adaloraqat.radiograph import write_png
from adaloraqat.renamed import renamed_arguments

FRACTIONS = (0.7, 0.15, 0.15)
"""Shares of train, val and test of all phantoms: there are few, and val and test need some."""

_SECOND_FILM = 0.2  # how often a patient comes back for a second film
_MONOCHROME1 = 0.3  # how many of the DICOM files are stored inverted

_FLOOR, _SPAN = 500, 3000  # stored values of black and of the way to white: the window is part of the range
_UID_ROOT = "2.25."


@renamed_arguments(track="progress")
def write_phantoms(
    out: str | os.PathLike[str],
    count: int,
    seed: int = 0,
    size: int = 256,
    site: PhantomSite | str = "standard",
    dicom: bool = False,
    progress: Progress = no_progress,
) -> list[Entry]:
    """Write `count` phantom films below the folder `out` and return the entries of its manifest.

    Leaves `images/*.png` (8 bits; or `*.dcm`, 12 bits, some MONOCHROME1), `masks/*.png` (0/255),
    `labels/*.png` (0 to 3) and `manifest.csv` with splits 70:15:15 by patient; about one patient in five has
    two films. The manifest comes last and the same arguments write the same bytes. `progress` shows
    how many films are done.

    Raises:
        ManifestError: `count` is not positive.
        FilmError: the size, the seed or the site is not possible.
        OutputError: the folder cannot be written, or the disk is full.
    """
    if count < 1:
        raise ManifestError("No phantom film was asked for: give a count of 1 or more.")
    look, folder = find_site(site), Path(out)
    entries = []
    for number, patient in enumerate(progress(_patients(count, seed), "films")):
        film_seed = _derive(seed, 1, number)
        phantom = draw_phantom(film_seed, size, look, patient_seed=_derive(seed, 2, patient))
        entry = _entry(folder, look.name, seed, number, patient, phantom, ".dcm" if dicom else ".png")
        _write_film(entry, phantom, film_seed)
        entries.append(entry)
    entries = assign_splits(entries, FRACTIONS, seed)
    write_manifest(folder / "manifest.csv", entries)
    return entries


def _patients(count: int, seed: int) -> list[int]:
    """The patient's number of each film; a second film follows the first one directly."""
    chances = np.random.default_rng([max(seed, 0), 3]).random(count)
    patients: list[int] = []
    for number, chance in enumerate(chances):
        first = number == 0 or (number >= 2 and patients[-1] == patients[-2])
        patients.append(patients[-1] if not first and chance < _SECOND_FILM else len(set(patients)))
    return patients


def _derive(seed: int, stream: int, number: int) -> int:
    """A seed of its own for each film and patient, unrelated between neighbouring data set seeds."""
    if seed < 0:
        return seed  # refused by draw_phantom
    return int(np.random.SeedSequence([seed, stream, number]).generate_state(1, np.uint64)[0])


def _entry(
    folder: Path, site: str, seed: int, number: int, patient: int, phantom: Phantom, suffix: str
) -> Entry:
    name = f"{site}-{seed}-{number:05d}"
    return Entry(
        id=name,
        source=f"phantom-{site}",
        patient_id=f"{site}-{seed}-p{patient:05d}",
        split=None,
        path_image=folder / "images" / f"{name}{suffix}",
        path_mask=folder / "masks" / f"{name}.png",
        path_labels=folder / "labels" / f"{name}.png",
        spacing_mm=(round(phantom.spacing_mm[0], 4), round(phantom.spacing_mm[1], 4)),
    )


def _write_film(entry: Entry, phantom: Phantom, film_seed: int) -> None:
    if entry.path_image.suffix == ".dcm":
        inverted = bool(np.random.default_rng([film_seed, 4]).random() < _MONOCHROME1)
        write_dicom(
            entry.path_image, phantom.pixels, entry.id, entry.patient_id, phantom.spacing_mm, inverted
        )
    else:
        write_png(entry.path_image, np.round(phantom.pixels * np.float32(255)).astype(np.uint8))
    write_png(entry.path_mask, phantom.mask.astype(np.uint8) * np.uint8(255))
    if entry.path_labels is not None:
        write_png(entry.path_labels, phantom.labels)


def write_dicom(
    path: Path,
    pixels: NDArray[np.floating[Any]],
    film: str,
    patient: str,
    spacing_mm: tuple[float, float],
    inverted: bool = False,
) -> None:
    """Write `pixels` (H, W) in [0, 1], bright = dense, as 12-bit uncompressed DICOM with a VOI window.

    `inverted` stores it as MONOCHROME1, where low values are bright. Identifiers follow from `film` and
    `patient`, so the same film gives the same bytes; the patient is openly a phantom.

    Raises:
        OutputError: the file cannot be written.
    """
    stored = np.round(_FLOOR + _SPAN * pixels.astype(np.float64)).astype(np.uint16)
    if inverted:
        stored = (2 * _FLOOR + _SPAN - stored).astype(np.uint16)
    dataset = FileDataset(path.name, {}, file_meta=_meta(film), preamble=b"\0" * 128)
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = generate_uid(prefix=_UID_ROOT, entropy_srcs=["study", film])
    dataset.SeriesInstanceUID = generate_uid(prefix=_UID_ROOT, entropy_srcs=["series", film])
    dataset.PatientID, dataset.PatientName = patient, "Phantom^Drawn"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "PA"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    # DICOM PS3.3 C.11.2.1.2: the window is centre - 0.5, and (width - 1) / 2 to either side of it
    dataset.WindowCenter, dataset.WindowWidth = str(_FLOOR + _SPAN / 2 + 0.5), str(_SPAN + 1)
    dataset.ImagerPixelSpacing = [f"{value:.6g}" for value in spacing_mm]
    dataset.PixelSpacing = dataset.ImagerPixelSpacing
    dataset.PixelData = stored.astype("<u2").tobytes()
    with atomic_path(path) as temporary:
        pydicom.dcmwrite(temporary, dataset, enforce_file_format=True)


def _meta(film: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(prefix=_UID_ROOT, entropy_srcs=["film", film])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta
