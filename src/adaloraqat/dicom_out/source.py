"""The film's own header: what its results take from it, made fit for them, or de-identified before that."""

import math
from pathlib import Path

from pydicom import Dataset, FileDataset
from pydicom.uid import UID
from pydicom.valuerep import DA, TM

from adaloraqat.dicom_out.deidentify import Deidentifier
from adaloraqat.errors import FilmError, refused_as
from adaloraqat.files import atomic_path
from adaloraqat.radiograph.formats import DICOM_SUFFIXES, format_of
from adaloraqat.radiograph.formats.base import quiet
from adaloraqat.radiograph.formats.dicom import Dicom
from adaloraqat.radiograph.formats.dicom_header import element
from adaloraqat.radiograph.formats.dicom_pixels import read_dataset

_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_ALWAYS = (
    *(
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyID",
        "StudyDate",
    ),
    *("StudyTime", "ReferringPhysicianName", "PatientOrientation"),
)  # each object has these, empty where they are not known
_GROUPS = (0x0008, 0x0010, 0x0012, 0x0020, 0x0028)  # study, patient, trial, relation, image
# with a spacing but no frame of reference (films have none) highdicom writes a segmentation it cannot read
_LEFT_OUT = ("FrameOfReferenceUID", "PixelSpacing", "NumberOfFrames")


class Source:
    """A film's file as its results see it.

    Attributes:
        name: of the file, for sentences.
        header: patient, study and image attributes that can be read; types that results need are corrected.
        spacing: PixelSpacing (row, column) as it stands in the file, else None; shown, never measured with.
        film: the whole de-identified file, None where the film stays as it is.
    """

    def __init__(self, name: str, dataset: FileDataset, film: FileDataset | None = None) -> None:
        self.name = name
        self.dataset = _fit(dataset)
        self.film = film
        self.spacing = _positive_pair(dataset, "PixelSpacing") or _positive_pair(
            dataset, "ImagerPixelSpacing"
        )
        self.aspect = _positive_pair(dataset, "PixelAspectRatio")

    @property
    def orientation(self) -> list[str]:
        """Patient Orientation: the patient's direction along the rows, then along the columns; or empty."""
        value = self.dataset.PatientOrientation
        return [str(value)] if isinstance(value, str) and value else list(map(str, value or ()))

    def save_film(self, path: Path) -> None:
        """Write the de-identified film.

        Raises:
            OutputError: the file cannot be written.
        """
        assert self.film is not None
        with atomic_path(path) as temporary, quiet():
            self.film.save_as(temporary, enforce_file_format=True)


def read_source(path: Path, deidentifier: Deidentifier | None = None) -> Source:
    """Return what results take from the header of a DICOM film.

    Raises:
        FilmError: no DICOM file, or one that does not say what study or object it is.
    """
    if not isinstance(format_of(path), Dicom):
        raise FilmError(
            f"{path.name} is not a DICOM file, so DICOM results would have no patient and no study: give "
            f"the film as DICOM ({', '.join(sorted(DICOM_SUFFIXES))}), or leave out --dicom."
        )
    with quiet():  # pydicom warns of each value that bends the standard
        return _source(path, deidentifier)


def _source(path: Path, deidentifier: Deidentifier | None) -> Source:
    with refused_as(FilmError(f"{path.name} is not a readable DICOM film: export or copy it again.")):
        dataset = read_dataset(path, before_pixels=deidentifier is None)
    for key in _UIDS:
        uid = str(element(dataset, key) or "")
        if not uid or not UID(uid).is_valid:
            raise FilmError(
                f"{path.name} has no valid {key}, which DICOM results must refer to: export it from the "
                "archive again, or leave out --dicom."
            )
    if deidentifier is None:
        return Source(path.name, dataset)
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        raise FilmError(
            f"{path.name} has no DICOM file header, so it cannot be de-identified: export it again."
        )
    with refused_as(
        FilmError(f"{path.name} has a damaged header and cannot be de-identified: export it again.")
    ):
        deidentifier(dataset)
    return Source(path.name, dataset, dataset)


def _fit(dataset: Dataset) -> Dataset:
    """Return the attributes of patient, study and image that can be read; what must be there is there."""
    header = Dataset()
    for tag in dataset.keys():  # noqa: SIM118 - iterating the dataset itself parses every element
        if tag.group not in _GROUPS:
            continue
        try:
            header.add(dataset[tag])
            str(header[tag].value)
        except Exception:  # pydicom parses on access; what it cannot parse is left out
            header.pop(tag, None)
    for key in _LEFT_OUT:
        header.pop(key, None)
    for key in _ALWAYS:
        if key not in header or header[key].value is None:
            setattr(header, key, "")
    for key, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(header[key].value)
        except (TypeError, ValueError):
            setattr(header, key, "")
    if sets := element(header, "SpecificCharacterSet"):  # an empty first one of several is the default
        sets = [sets] if isinstance(sets, str) else list(sets)
        header.SpecificCharacterSet = [one or "ISO 2022 IR 6" for one in sets]
    if header.PatientSex not in ("M", "F", "O", ""):
        header.PatientSex = ""
    _check_grey_scale(header)
    return header


def _check_grey_scale(header: Dataset) -> None:
    """Leave out a window or a rescale slope that no station can apply."""
    centres, widths = (_numbers(header, key) for key in ("WindowCenter", "WindowWidth"))
    if not centres or len(centres) != len(widths) or min(widths) < 1:
        for key in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation"):
            header.pop(key, None)
    slope, intercept = (_numbers(header, key) for key in ("RescaleSlope", "RescaleIntercept"))
    if not (slope and intercept and slope[0] != 0):
        for key in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
            header.pop(key, None)


def _numbers(dataset: Dataset, key: str) -> list[float]:
    """Return an element's values, none of them where one is not a finite number."""
    value = element(dataset, key)
    if value is None or value == "":
        return []
    try:
        numbers = [float(one) for one in ([value] if isinstance(value, int | float | str) else value)]
    except (TypeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _positive_pair(dataset: Dataset, key: str) -> tuple[float, float] | None:
    numbers = _numbers(dataset, key)
    return (numbers[0], numbers[1]) if len(numbers) == 2 and min(numbers) > 0 else None
