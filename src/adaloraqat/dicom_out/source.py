"""The film's own header: what its results take from it, made fit for them, or de-identified before that."""

from fractions import Fraction
from pathlib import Path

from pydicom import Dataset, FileDataset
from pydicom.uid import UID

from adaloraqat.dicom_out.deidentify import Deidentifier
from adaloraqat.dicom_out.grey_scale import numbers, take_grey_scale
from adaloraqat.dicom_out.header import fitted, flat_header
from adaloraqat.errors import FilmError, refused_as
from adaloraqat.files import atomic_path
from adaloraqat.radiograph.film import possible_spacing
from adaloraqat.radiograph.formats import DICOM_SUFFIXES, format_of
from adaloraqat.radiograph.formats.base import quiet
from adaloraqat.radiograph.formats.dicom import Dicom
from adaloraqat.radiograph.formats.dicom_header import aspect_of, element, number
from adaloraqat.radiograph.formats.dicom_pixels import read_dataset

_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_MOST_PARTS = 1000  # of an aspect ratio's side, in whole numbers


class Source:
    """A film's file as its results see it.

    Attributes:
        name: of the file, for sentences.
        dataset: patient, study and image attributes that can be read; types that results need are corrected.
        grey_scale: how values become greys.
        spacing: PixelSpacing or ImagerPixelSpacing (row, column) as it stands in the file, else None, also
            where no film can have it; shown, never measured with.
        aspect: (vertical, horizontal) side of a pixel, in whole numbers.
        film: the whole de-identified file, None where the film stays as it is.
    """

    def __init__(self, name: str, dataset: FileDataset, film: FileDataset | None = None) -> None:
        self.name = name
        header = flat_header(dataset)
        self.spacing = _spacing(header)
        aspect = Fraction(aspect_of(header)).limit_denominator(_MOST_PARTS)
        self.aspect = aspect.numerator, aspect.denominator
        self.grey_scale = take_grey_scale(header)
        self.dataset = fitted(header)
        self.film = film

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
    sentence = f"{path.name} has a damaged header: export it again, or leave out --dicom."
    if deidentifier is None:
        with refused_as(FilmError(sentence)):
            return Source(path.name, dataset)
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        raise FilmError(
            f"{path.name} has no DICOM file header, so it cannot be de-identified: export it again."
        )
    with refused_as(
        FilmError(f"{path.name} has a damaged header and cannot be de-identified: export it again.")
    ):
        deidentifier(dataset)
    with refused_as(FilmError(sentence)):
        return Source(path.name, dataset, dataset)


def _spacing(header: Dataset) -> tuple[float, float] | None:
    """Return the first spacing that a film can have, as reading judges it."""
    shape = (number(header, "Rows"), number(header, "Columns"))
    for key in ("PixelSpacing", "ImagerPixelSpacing"):
        found = numbers(header, key)
        if len(found) == 2 and shape[0] and shape[1]:
            spacing = possible_spacing((found[0], found[1]), (int(shape[0]), int(shape[1])))
            if spacing is not None:
                return spacing
    return None
