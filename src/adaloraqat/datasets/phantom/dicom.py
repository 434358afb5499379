"""A phantom film as a DICOM file, as a digital X-ray unit would send it."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from adaloraqat.files import atomic_path

_FLOOR, _SPAN = 500, 3000  # stored values of black and of the way to white: the window is part of the range
_UID_ROOT = "2.25."


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
