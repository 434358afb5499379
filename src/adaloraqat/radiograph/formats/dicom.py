"""DICOM: how its files are known, and what kind of object one holds, by its SOP class.

A study's folder has more in it than films. pydicom, which reads them, is imported by the first: it takes
0.25 s.
"""

import struct
from pathlib import Path

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import Film
from adaloraqat.radiograph.formats.base import Format, Header, quiet

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_KINDS = (  # begin of the SOP class below _STORAGE, Modality's word, what it is
    ("66.4", "SEG", "a segmentation"),
    ("66.5", "SEG", "a segmentation"),
    ("66.7", "SEG", "a segmentation"),
    ("66.8", "SEG", "a segmentation"),
    ("66.1", "REG", "a registration"),
    ("66.2", "FID", "fiducials"),
    ("66.3", "REG", "a registration"),
    ("66.6", "TRACT", "tracts"),
    ("66", "RAW", "raw data"),
    ("67", "RWV", "real world values"),
    ("68", "SURFACE", "a surface"),
    ("30", "PMAP", "a parametric map"),
    ("88.59", "KO", "a selection of key objects"),
    ("88", "SR", "a structured report"),
    ("11", "PR", "a presentation state"),
    ("9", "WAVEFORM", "a waveform"),
    ("104", "DOC", "a document"),
    ("4.2", "SPECTRO", "spectroscopy"),
    ("481", "RT", "an object of radiotherapy"),
    ("77.1.5.3", "OPT", "a measurement without an image"),
    ("78", "OPM", "a measurement without an image"),
    ("79", "OPM", "a measurement without an image"),
    ("80", "OPM", "a measurement without an image"),
)
_OTHER = "OTHER"
_IMAGES = (
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "12",
    "13",
    "14",
    "20",
    "77",
    "128",
)  # begins of those with pixels
_OTHERS = (("1.2.840.10008.1.3.10", "DICOMDIR", "a list of files"),)
_META_START = 132
_ENCODINGS = (("<", False), ("<", True), (">", True))
_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT")  # whose length has four bytes more
_BARE_TAGS = 3  # that must follow one another
_CLASS = b"\x02\x00\x02\x00UI"  # (0002,0002), explicit and little-endian as all meta information


def kind_of_class(sop_class: str) -> tuple[str, str] | None:
    """Return Modality's word and a name for objects without a film's pixels; None for all others."""
    for start, word, name in _OTHERS:
        if sop_class == start:
            return word, name
    if not sop_class.startswith(_STORAGE):
        return None
    part = sop_class.removeprefix(_STORAGE)
    return next(
        ((w, name) for start, w, name in _KINDS if part == start or part.startswith(start + ".")), None
    )


def kind_of_file(path: Path) -> str | None:
    """Return Modality's word ("SEG", "SR") of a file without a film's pixels; None where it may hold a film.

    Of most films only the first bytes are read, so that a folder of 100,000 is searched quickly. Objects of a
    class that is not known (manufacturers have their own) hold no film where their header has no rows.
    """
    if not path.is_file():  # a pipe of that name would be waited for
        return None
    try:
        with open(path, "rb") as stream:
            start = stream.read(1024)
    except OSError:
        return None  # reading it says why it cannot be used
    place = start.find(_CLASS, _META_START)
    if start[_META_START - 4 : _META_START] != b"DICM":
        return _kind_by_header(path) if _begins_bare(start) else None
    length = int.from_bytes(start[place + 6 : place + 8], "little") if place >= 0 else 0
    sop_class = start[place + 8 : place + 8 + length].rstrip(b"\0 ").decode("ascii", "replace")
    kind = kind_of_class(sop_class)
    if kind is not None:
        return kind[0]
    known = sop_class.removeprefix(_STORAGE).split(".")[0] in _IMAGES and sop_class.startswith(_STORAGE)
    return None if known else _kind_by_header(path)


def _kind_by_header(path: Path) -> str | None:
    """See `kind_of_file`; also of objects without meta information."""
    with quiet():
        from adaloraqat.radiograph.formats.dicom_header import element
        from adaloraqat.radiograph.formats.dicom_pixels import read_dataset

        try:
            dataset = read_dataset(path, before_pixels=True)
        except Exception:  # of many kinds; reading it says why it cannot be used
            return None
        sop_class = str(element(dataset, "SOPClassUID") or "")
        kind = kind_of_class(sop_class)
        if kind is not None:
            return kind[0]
        return _OTHER if sop_class and element(dataset, "Rows") is None else None


def check_holds_film(sop_class: str, name: str) -> None:
    """Refuse an object without a film's pixels.

    Raises:
        FilmError: with what it is.
    """
    kind = kind_of_class(sop_class)
    if kind:
        raise FilmError(
            f"{name} is {kind[1]} ({kind[0]}) and holds no film: give the CR or DX film it belongs to."
        )


def _begins_bare(start: bytes) -> bool:
    """Return whether a file begins with DICOM elements at once, those of meta information or identification.

    Their tags rise, and the length of each leads to the next.
    """
    return any(_has_tags(start, order, explicit) for order, explicit in _ENCODINGS)


def _has_tags(start: bytes, order: str, explicit: bool) -> bool:
    place, last = 0, (0, 0)
    for number in range(_BARE_TAGS):
        head = start[place : place + 12]
        if len(head) < 12:
            return False
        tag, kind = struct.unpack_from(f"{order}2H", head), head[4:6]
        if tag <= last or (number == 0 and tag[0] not in (2, 8)):
            return False
        if explicit and not (kind.isalpha() and kind.isupper()):
            return False
        if explicit and kind in _LONG:
            place += 12 + int(struct.unpack_from(f"{order}I", head, 8)[0])
        elif explicit:
            place += 8 + int(struct.unpack_from(f"{order}H", head, 6)[0])
        else:
            place += 8 + int(struct.unpack_from(f"{order}I", head, 4)[0])
        last = tag
    return True


class Dicom(Format):
    """DICOM: CR, DX or secondary capture, one frame, any usual compression."""

    suffixes = frozenset({".dcm", ".dicom", ".dic", ".ima"})
    needs_suffix = False

    def sniff(self, start: bytes) -> bool:
        """See `Format.sniff`; what comes before the mark is free, and old files have none."""
        return start[128:132] == b"DICM" or _begins_bare(start)

    def claims(self, path: Path) -> bool:
        """See `Format.claims`: old files have no mark."""
        return path.suffix.lower() in self.suffixes

    def holds_film(self, path: Path) -> bool:
        """See `Format.holds_film`; segmentations, reports and other objects of a study hold none."""
        return kind_of_file(path) is None

    def kind(self, path: Path) -> str:
        """See `Format.kind`: Modality's word, as SEG, SR, PR, KO or RT; OTHER where there is none."""
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
