"""Takes out of a film's file who it is of.

An element stays only where it is named here, or is a number, a date, a code word or a UID of a group that
says how the film was made. dicognito then replaces names, identifiers, dates and UIDs. What a list of
unwanted elements forgets, this one does not keep.
"""

from collections.abc import Callable
from typing import Any

from pydicom import Dataset, FileDataset
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.valuerep import DA, DT, TM

from adaloraqat.radiograph.formats.base import quiet

_GROUPS = (0x0008, 0x0018, 0x0020, 0x0028, 0x2050, 0x5200, 0x7FE0)
_TEXT = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_BYTES = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_OF_PIXELS = (0x0028, 0x7FE0)  # groups whose bytes are the film
_REPLACED = frozenset(
    {"AccessionNumber", "PatientBirthDate", "PatientID", "PatientName", "ReferringPhysicianName", "StudyID"}
)
_KEPT = frozenset({"PatientAge", "PatientSex"})
_OF_OTHERS = frozenset({"OtherStudyNumbers", "TherapyDescription"})
"""What tells of the patient, though its kind of value does not say so."""
_FIRST_YEAR = 1800  # placeholders such as 00010101 cannot be shifted
_EMPTIED = "AcquisitionContextSequence"  # may be empty, but not missing
_EQUIPMENT = frozenset({"DeviceSerialNumber", "Manufacturer", "ManufacturerModelName", "SoftwareVersions"})
"""What enhanced objects may neither lack nor have empty: one word stands in its place."""
_TIMES: dict[str, Callable[[str], object]] = {"DA": DA, "DT": DT, "TM": TM}
_SEQUENCES = frozenset(
    {
        *("AnatomicRegionSequence", "ViewCodeSequence", "ViewModifierCodeSequence"),
        *("ModalityLUTSequence", "VOILUTSequence"),
        *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "FrameAnatomySequence"),
        *("FrameContentSequence", "FrameVOILUTSequence", "PixelMeasuresSequence"),
        *("PixelValueTransformationSequence", "DimensionIndexSequence", "DimensionOrganizationSequence"),
    }
)
_CODED = frozenset({"AnatomicRegionSequence", "ViewCodeSequence", "ViewModifierCodeSequence"})
_CODE = frozenset({"CodeMeaning", "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion"})
_PUBLIC = frozenset({"DCM", "FMA", "LN", "RADLEX", "SCT", "SNM3", "SRT"})
"""Coding schemes whose words are no site's own."""
_UNIT_OF = ("ModalityLUTType", "RescaleType")
_UNITS = frozenset({"HU", "OD", "US"})
"""What the values of a film can be in, and the word for what is not said."""


class Deidentifier:
    """Replaces who a film is of: names, numbers, dates, UIDs; alike in all films of one instance.

    dicognito does it, with a random key that is never kept. What it does not replace, and is not needed to
    show the film, is removed. What is burned into the pixels stays.
    """

    def __init__(self) -> None:
        with quiet():
            from dicognito.anonymizer import Anonymizer

            self._anonymizer = Anonymizer()

    def __call__(self, dataset: FileDataset) -> None:
        """De-identify one film in place, with what its file says before the data set."""
        _strip(dataset)
        self._anonymizer.anonymize(dataset)
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.file_meta = meta
        dataset.preamble = b"\0" * 128


def _strip(dataset: Dataset, within: str = "") -> None:
    """Remove what is not to stay in a data set, or in an item of the sequence `within`."""
    for tag in list(dataset.keys()):
        keyword = keyword_for_tag(tag)
        if keyword == _EMPTIED and not within:
            dataset[tag] = DataElement(tag, "SQ", [])
        elif keyword in _EQUIPMENT and not within:
            dataset[tag] = DataElement(tag, "LO", "removed")
        elif not _stays(dataset, tag, keyword, within):
            del dataset[tag]
        elif dictionary_VR(tag) in _TIMES:
            dataset[tag] = _one_time(tag, dataset[tag].value)
        elif keyword in _SEQUENCES:
            items = dataset[tag].value
            for item in items:
                _strip(item, keyword)
            dataset[tag].value = [item for item in items if len(item) or keyword not in _CODED]
            if keyword in _CODED and not dataset[tag].value:
                del dataset[tag]
    for keyword in _UNIT_OF:
        if keyword in dataset and dataset[keyword].value not in _UNITS:
            dataset[keyword].value = "US"


def _stays(dataset: Dataset, tag: BaseTag, keyword: str, within: str) -> bool:
    if not keyword or keyword in _OF_OTHERS:  # private, a curve, an overlay
        return False
    if within in _CODED:
        return keyword in _CODE and dataset.get("CodingSchemeDesignator") in _PUBLIC
    if not within and (keyword in _REPLACED or keyword in _KEPT):
        return True
    if keyword in _SEQUENCES or keyword in _UNIT_OF:
        return True
    kinds = {*dictionary_VR(tag).split(" or "), dataset.get_item(tag).VR or ""}
    if tag.group not in _GROUPS or kinds & _TEXT or "SQ" in kinds:
        return False
    return tag.group in _OF_PIXELS or not kinds & _BYTES


def _one_time(tag: BaseTag, value: Any) -> DataElement:
    """Return an element with one date or time, empty where it is none: dicognito shifts what can be read."""
    kind = dictionary_VR(tag)
    first = value if isinstance(value, str) or not value else value[0]
    try:
        readable = str(first or "") if _TIMES[kind](first) else ""
        if readable and kind != "TM" and int(readable[:4]) < _FIRST_YEAR:
            readable = ""
    except (TypeError, ValueError):
        readable = ""
    return DataElement(tag, kind, readable)
