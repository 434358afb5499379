"""DICOM: how its files are known. pydicom, which reads them, is imported by the first: it takes 0.25 s."""

from pathlib import Path

from adaloraqat.radiograph.film import Film
from adaloraqat.radiograph.formats.base import Format, Header, quiet
from adaloraqat.radiograph.formats.dicom_objects import kind_of_file


class Dicom(Format):
    """DICOM: CR, DX or secondary capture, one frame, any usual compression."""

    suffixes = frozenset({".dcm", ".dicom", ".dic", ".ima"})
    needs_suffix = False

    def sniff(self, start: bytes) -> bool:
        """See `Format.sniff`; what comes before the mark is free."""
        return start[128:] == b"DICM"

    def claims(self, path: Path) -> bool:
        """See `Format.claims`: old files have no mark."""
        return path.suffix.lower() in self.suffixes

    def holds_film(self, path: Path) -> bool:
        """See `Format.holds_film`; segmentations, reports and other objects of a study hold none."""
        return kind_of_file(path) is None

    def kind(self, path: Path) -> str:
        """See `Format.kind`: Modality's word, as SEG, SR, PR, KO or RT."""
        return kind_of_file(path) or super().kind(path)

    def header(self, path: Path) -> Header:
        """See `Format.header`."""
        with quiet():  # pydicom warns of each value that bends the standard
            from adaloraqat.radiograph.formats.dicom_values import dicom_header

            return dicom_header(path)

    def read(self, path: Path) -> Film:
        """See `Format.read`; files of several frames, and what cannot be decompressed, are refused, too."""
        with quiet():
            from adaloraqat.radiograph.formats.dicom_values import dicom_film

            return dicom_film(path)
