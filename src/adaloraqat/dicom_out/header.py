"""Of a film's header what its results take over, made fit for them."""

from copy import deepcopy

from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue
from pydicom.valuerep import DA, TM

from adaloraqat.radiograph.formats.dicom_header import element, flatten

_ALWAYS = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "PatientOrientation"),
)  # each object has these, empty where they are not known
_GROUPS = (0x0008, 0x0010, 0x0012, 0x0020, 0x0028)  # study, patient, trial, relation, image
_READ_TOO = (0x0018, 0x5200)  # how it was made, frames
# with a spacing but no frame of reference (films have none) highdicom writes a segmentation it cannot read
_LEFT_OUT = ("FrameOfReferenceUID", "PixelSpacing")
_UTF8 = "ISO_IR 192"


class _NoMeasures(Dataset):
    """The groups that all frames share, without a spacing, which highdicom asks for as if all had one."""

    PixelMeasuresSequence = None


def flat_header(dataset: Dataset) -> Dataset:
    """Return a copy of the elements that can be read, of frames too, and how the film was made.

    Such films as are of classes of several frames, with one, have their groups' elements at the top.
    """
    header = Dataset()
    for tag in dataset.keys():  # noqa: SIM118 - iterating the dataset itself parses every element
        if tag.group not in (*_GROUPS, *_READ_TOO):
            continue
        try:
            str(dataset[tag].value)  # pydicom parses on access, within sequences too
            header.add(deepcopy(dataset[tag]))  # a de-identified film is written as it is
        except Exception:
            header.pop(tag, None)
    flatten(header)
    return header


def fitted(header: Dataset) -> Dataset:
    """Return the attributes of patient, study and image of a `flat_header`; what must be there is there."""
    for tag in list(header.keys()):
        if tag.group not in _GROUPS:
            del header[tag]
    for key in _LEFT_OUT:
        header.pop(key, None)
    _add_frame(header)
    for key in _ALWAYS:
        if key not in header or header[key].value is None:
            setattr(header, key, "")
        elif isinstance(header[key].value, MultiValue | list) and key != "PatientOrientation":
            setattr(header, key, header[key].value[0] if header[key].value else "")  # each has one value only
    for key, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(header[key].value)
        except (TypeError, ValueError):
            setattr(header, key, "")
    if header.PatientSex not in ("M", "F", "O", ""):
        header.PatientSex = ""
    if not element(header, "Modality"):
        header.Modality = "OT"
    header.walk(_drop_character_set)
    # all text is decoded, and UTF-8 holds it, whatever set the film names, and however it spells it
    header.SpecificCharacterSet = _UTF8
    return header


def _add_frame(header: Dataset) -> None:
    """Say that there is one frame: highdicom asks it of classes that can have several, by their groups.

    Of the film's own groups nothing is taken: with a spacing, but without a place in a frame of reference,
    highdicom could not read the segmentation.
    """
    header.NumberOfFrames = 1
    header.SharedFunctionalGroupsSequence = [_NoMeasures()]
    header.PerFrameFunctionalGroupsSequence = [Dataset()]


def _drop_character_set(dataset: Dataset, found: DataElement) -> None:
    if found.keyword == "SpecificCharacterSet":
        del dataset[found.tag]
