"""Headers that films have and the standard does not: results are written, and no worse than the film."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_films import Written, lungs, result_of, write_film
from pydicom import Dataset
from pydicom.valuerep import PersonName

from adaloraqat.dicom_out import read_source
from adaloraqat.errors import FilmError
from adaloraqat.radiograph.formats.base import quiet


def table(kind: str = "OW", bits: int = 12, **more: Any) -> Dataset:
    """A look-up table that turns 12 bits over."""
    values = np.arange(4095, -1, -1, dtype=np.uint16)
    item = Dataset()
    item.LUTDescriptor = [4096, 0, bits]
    item.add_new("LUTData", kind, values.tobytes() if kind == "OW" else values.tolist())
    for key, value in more.items():
        setattr(item, key, value)
    return item


def groups(**elements: Any) -> dict[str, Any]:
    """Functional groups of one frame that has a spacing, a window, and no place in the patient."""
    shared, frame, measures, window = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [2, 2]
    window.WindowCenter, window.WindowWidth = 2000, 3000
    shared.PixelMeasuresSequence, shared.FrameVOILUTSequence = [measures], [window]
    return {
        "NumberOfFrames": 1,
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": [frame],
        **dict.fromkeys(("PixelSpacing", "ImagerPixelSpacing", "WindowCenter", "WindowWidth")),
        **elements,
    }


ENHANCED_XA, FRAMES_OF_GREY_WORDS = "1.2.840.10008.5.1.4.1.1.12.1.1", "1.2.840.10008.5.1.4.1.1.7.3"
NO_WINDOW = {"WindowCenter": None, "WindowWidth": None}
ODD_HEADERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with a frame of reference": {"FrameOfReferenceUID": "1.2.3.4"},
    "nothing of type 2": dict.fromkeys(("PatientID", "PatientName", "StudyDate", "PatientSex")),
    "a sex of its own": {"PatientSex": "X"},
    "a Japanese name": {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "PatientName": "Yamada^Tarou=山田^太郎",
    },
    "UTF-8": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Ångström^Zoë"},
    "two windows": {"WindowCenter": [2000, 1000], "WindowWidth": [3000, 500]},
    "a window without a width": {"WindowWidth": 0},
    "half a window": {"WindowWidth": None},
    "a slope of nothing": {"RescaleSlope": 0, "RescaleIntercept": 0},
    "an explanation too many": {"WindowCenterWidthExplanation": ["A", "B"]},
    "a long explanation": {"WindowCenterWidthExplanation": "x" * 100},
    "an empty function": {"VOILUTFunction": ""},
    "an unknown function": {"VOILUTFunction": "FOO"},
    "a table beside a window": {"VOILUTSequence": [table()]},
    "no table beside a window": {"VOILUTSequence": []},
    "a table of numbers": {"VOILUTSequence": [table("US")], **NO_WINDOW},
    "a table of another length": {"VOILUTSequence": [table(LUTDescriptor=[9, 0, 16])], **NO_WINDOW},
    "a table of nothing": {"VOILUTSequence": [Dataset()], "ModalityLUTSequence": [Dataset()]},
    "two slopes": {"RescaleSlope": [1, 2], "RescaleIntercept": [0, 1], "RescaleType": "US"},
    "two of each": {"PatientName": ["A^B", "C^D"], "PatientID": ["1", "2"], "StudyDate": ["20200101"] * 2},
    "no modality": {"Modality": None},
    "enhanced XA": {"SOPClassUID": ENHANCED_XA, "NumberOfFrames": 1},
    "enhanced XA with groups": groups(SOPClassUID=ENHANCED_XA),
    "frames of words": {"SOPClassUID": FRAMES_OF_GREY_WORDS, "NumberOfFrames": 1},
    "frames of words with groups": groups(SOPClassUID=FRAMES_OF_GREY_WORDS),
    "rescaled": {"RescaleSlope": 2, "RescaleIntercept": -100, "RescaleType": "US"},
}


@pytest.mark.parametrize("changes", ODD_HEADERS.values(), ids=ODD_HEADERS)
def test_no_error_that_the_film_had_not(
    write: Callable[..., Written],
    tmp_path: Path,
    errors_of: Callable[[Path], set[str]],
    changes: dict[str, Any],
) -> None:
    film = write_film(tmp_path / "film.dcm", **changes)
    objects = write(film, result_of(lungs()))
    name = pydicom.dcmread(film).get("PatientName", "")
    name = name if isinstance(name, str | PersonName) else name[0]
    for kind, written in objects.items():
        assert errors_of(tmp_path / f"film_{kind}.dcm") - errors_of(film) == set()
        assert written.PatientName == name
    read = highdicom.seg.segread(tmp_path / "film_seg.dcm")
    uid = pydicom.dcmread(film).SOPInstanceUID
    assert (read.get_pixels_by_source_instance([uid])[0, :, :, 0] == lungs()).all()


@pytest.mark.parametrize(
    ("sets", "name"),
    [
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        (["", "ISO 2022 IR 58"], "Wang^XiaoDong"),
        (["ISO_IR 100", "ISO 2022 IR 144"], "Müller^Ö"),
        (["ISO_IR 192", "ISO 2022 IR 87"], "山田^太郎"),
        ("ISO 2022 IR 100", "Müller^Ö"),
        ("ISO-IR 100", "Müller^Ö"),
        ("iso_ir 100", "Doe^Jane"),
        ("ISO IR 192", "山田^太郎"),
        ("ISO_IR 6", "Doe^Jane"),
        ("", "Doe^Jane"),
        ("ISO_IR 999", "Doe^Jane"),
    ],
)
def test_any_character_set(
    write: Callable[..., Written],
    tmp_path: Path,
    errors_of: Callable[[Path], set[str]],
    sets: str | list[str],
    name: str,
) -> None:
    """Names are those of the film, also within sequences, whatever set it names, and however it spells it."""
    coded = Dataset()
    coded.CodeValue, coded.CodingSchemeDesignator, coded.CodeMeaning = "1", "99X", name.split("=")[-1]
    film = write_film(
        tmp_path / "film.dcm", SpecificCharacterSet=sets, PatientName=name, ProcedureCodeSequence=[coded]
    )
    with quiet():
        assert pydicom.dcmread(film).PatientName == name  # reading has no trouble with it
    for kind, written in write(film, result_of(lungs())).items():
        assert errors_of(tmp_path / f"film_{kind}.dcm") - errors_of(film) == set()
        assert written.SpecificCharacterSet == "ISO_IR 192"
        assert written.PatientName == name
        if kind != "sr":
            assert written.ProcedureCodeSequence[0].CodeMeaning == name.split("=")[-1]


def test_the_state_has_the_grey_scale_of_the_film(write: Callable[..., Written], tmp_path: Path) -> None:
    """Both a table and windows, as on the film; a table of 12 bits becomes one of 16; a name is not spelt."""
    changes = {"VOILUTSequence": [table("US")], "VOILUTFunction": "SIGMOID"}
    film = write_film(tmp_path / "film.dcm", WindowCenterWidthExplanation="NORMAL", **changes)
    [found] = write(film, result_of(lungs()), ("pr",))["pr"].SoftcopyVOILUTSequence
    source = pydicom.dcmread(film)
    assert (found.WindowCenter, found.WindowWidth) == (source.WindowCenter, source.WindowWidth)
    assert (found.VOILUTFunction, found.WindowCenterWidthExplanation) == ("SIGMOID", "NORMAL")
    [shown] = found.VOILUTSequence
    assert shown.LUTDescriptor == [4096, 0, 16]
    wanted = np.round(np.arange(4095, -1, -1) * 65535 / 4095)
    np.testing.assert_array_equal(np.frombuffer(shown.LUTData, np.uint16), wanted)


def test_the_state_has_the_table_of_the_modality(write: Callable[..., Written], tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", ModalityLUTSequence=[table(ModalityLUTType="OD")])
    state = write(film, result_of(lungs()), ("pr",))["pr"]
    [shown] = state.ModalityLUTSequence
    assert (shown.ModalityLUTType, shown.LUTData) == ("OD", table().LUTData)  # values, not shares of a range
    assert "RescaleSlope" not in state


def test_the_state_has_the_window_and_the_spacing_of_the_frame(
    write: Callable[..., Written], tmp_path: Path
) -> None:
    film = write_film(tmp_path / "film.dcm", **groups(SOPClassUID=ENHANCED_XA))
    state = write(film, result_of(lungs()), ("pr",))["pr"]
    assert state.SoftcopyVOILUTSequence[0].WindowWidth == 3000
    assert state.DisplayedAreaSelectionSequence[0].PresentationPixelSpacing == [2, 2]


def test_a_refusal_says_why(write: Callable[..., Written], tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", SOPClassUID="1.2.3.4")
    with pytest.raises(FilmError, match=r"allow DICOM results \(nothing is known of '1\.2\.3\.4'\): export"):
        write(film, result_of(lungs()))


@pytest.mark.parametrize("key", ["StudyInstanceUID", "SOPInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [None, "no uid"])
def test_a_film_of_no_study_is_refused(tmp_path: Path, key: str, value: str | None) -> None:
    film = write_film(tmp_path / "film.dcm")
    with quiet():
        dataset = pydicom.dcmread(film)
        del dataset[key]
        if value is not None:
            dataset.add_new(key, "LO", value)
        dataset.save_as(film, enforce_file_format=False)
    with pytest.raises(FilmError, match=f"film.dcm has no valid {key}"):
        read_source(film)
