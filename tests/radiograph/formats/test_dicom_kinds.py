"""Films in DICOM as hospitals have them: odd bits, windows, padding, spacing, words, transfer syntaxes."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fuzz_seeds import dicom, jpeg2000
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import read_film, read_header
from adaloraqat.radiograph.film import Film, Told, possible_spacing
from adaloraqat.radiograph.formats.base import quiet
from adaloraqat.radiograph.formats.dicom_told import told_by

SIDE = 120
_Y, _X = np.mgrid[0:SIDE, 0:SIDE]
SMOOTH = (2000 + 1500 * np.sin(_X / 17) * np.cos(_Y / 23) + (_X + _Y)).astype(np.uint16)  # 12 bits


def film_of(
    path: Path, stored: np.ndarray = SMOOTH, syntax: Any = ExplicitVRLittleEndian, **elements: Any
) -> Film:
    path.write_bytes(dicom(stored, syntax, **{"PixelSpacing": [3.0, 3.0], **elements}))
    return read_film(path)


def ramp(values: np.ndarray) -> np.ndarray:
    values = values.astype(float)
    return (values - values.min()) / (values.max() - values.min())


def stream(values: np.ndarray) -> bytes:
    return bytes(encode_array(values, photometric_interpretation=2))


# ---- bits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_an_overlay_above_the_stored_bits_is_no_part_of_the_film(tmp_path: Path, syntax: Any) -> None:
    overlaid = SMOOTH.copy()
    overlaid[20:40, 30:90] |= 0x1000
    overlaid[60:64, :] |= 0x8000
    elements: dict[str, Any] = {}
    if syntax == JPEG2000Lossless:
        elements["frame"] = stream(overlaid)
    if syntax == JPEGLSLossless:
        elements["BitsStored"], elements["HighBit"] = 16, 15  # for the encoder; the header's word follows
    path = tmp_path / "film"
    path.write_bytes(dicom(overlaid, syntax, **elements))
    dataset = pydicom.dcmread(path)
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.save_as(path)
    assert read_film(path).pixels == pytest.approx(ramp(SMOOTH), abs=1e-6)


@pytest.mark.parametrize("representation", [0, 1])
@pytest.mark.parametrize("offset", [0, -2048])
def test_a_jpeg_2000_stream_with_another_sign_than_its_tag(
    tmp_path: Path, representation: int, offset: int
) -> None:
    """The stream says what it holds (PS3.5 8.2.4): also where its tag has the other sign."""
    values = SMOOTH.astype(np.int16) + offset
    frame = stream(values if offset else values.astype(np.uint16))
    film = film_of(
        tmp_path / "film", SMOOTH, JPEG2000Lossless, frame=frame, PixelRepresentation=representation
    )
    assert film.pixels == pytest.approx(ramp(SMOOTH), abs=1e-6)


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
def test_high_throughput_jpeg_2000_is_decoded_by_its_own_decoder(tmp_path: Path, syntax: Any) -> None:
    """No encoder of HT streams is at hand; OpenJPEG reads a plain stream under these syntaxes, gdcm none."""
    film = film_of(tmp_path / "film", SMOOTH, syntax, frame=stream(SMOOTH))
    assert film.pixels == pytest.approx(ramp(SMOOTH), abs=1e-6)


# ---- transfer syntaxes that nothing reads --------------------------------------------------------------


@pytest.mark.parametrize(
    ("syntax", "words"),
    [
        ("1.2.840.10008.1.2.4.110", "JPEG XL"),
        ("1.2.840.10008.1.2.4.111", "JPEG XL"),
        ("1.2.840.10008.1.2.4.112", "JPEG XL"),
        ("1.2.840.113619.5.2", "1.2.840.113619.5.2 is private to its manufacturer"),
        ("1.3.46.670589.33.1.4.1", "private to its manufacturer"),
        ("1.2.840.10008.1.2.4.102", "a video"),
        ("1.2.840.10008.1.2.4.94", "lie on a server"),
        ("1.2.840.10008.1.2.4.250", "not known"),
    ],
)
def test_a_transfer_syntax_that_is_not_read_is_named(tmp_path: Path, syntax: str, words: str) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(dicom(SMOOTH, JPEG2000Lossless, jpeg2000()))
    dataset = pydicom.dcmread(path)
    stand_in = "1.2.3." + "9" * (
        len(syntax) - 6
    )  # pydicom writes no file with an unknown syntax of the standard
    dataset.file_meta.TransferSyntaxUID = stand_in
    pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True)
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), syntax.encode()))
    with pytest.raises(FilmError, match=words):
        read_film(path)


# ---- windows -------------------------------------------------------------------------------------------


def test_a_window_that_clips_much_is_left_out_and_a_later_one_is_used(tmp_path: Path) -> None:
    alone = film_of(tmp_path / "film", WindowCenter=128, WindowWidth=256)
    assert alone.pixels == pytest.approx(ramp(SMOOTH), abs=1e-6)
    assert len(alone.notices) == 1
    assert "was ignored" in alone.notices[0]
    bone = film_of(tmp_path / "film", WindowCenter=3000, WindowWidth=1000)
    assert bone.pixels == pytest.approx(ramp(SMOOTH), abs=1e-6)
    assert "clips" in bone.notices[0]
    later = film_of(tmp_path / "film", WindowCenter=[3300, 2000], WindowWidth=[300, 4000])
    assert later.pixels == pytest.approx(np.clip((SMOOTH - 1999.5) / 3999 + 0.5, 0, 1), abs=1e-5)
    assert "window 2 was used" in later.notices[1]


@pytest.mark.parametrize("percentiles", [(1, 99), (5, 95), (10, 90), (20, 100), (0, 80)])
def test_a_window_that_shows_the_film_stays(tmp_path: Path, percentiles: tuple[int, int]) -> None:
    low, high = np.percentile(SMOOTH, percentiles)
    window = {"WindowCenter": f"{(low + high) / 2:.6g}", "WindowWidth": f"{high - low:.6g}"}
    film = film_of(tmp_path / "film", VOILUTFunction="LINEAR_EXACT", **window)
    assert film.notices == ()
    assert film.pixels == pytest.approx(np.clip((SMOOTH - low) / (high - low), 0, 1), abs=1e-3)


def test_an_8_bit_film_in_a_16_bit_window_keeps_its_grey_levels(tmp_path: Path) -> None:
    small = (SMOOTH >> 4).astype(np.uint8)
    film = film_of(tmp_path / "film", small, WindowCenter=32768, WindowWidth=65536)
    assert film.pixels == pytest.approx(small / 255, abs=1e-6)
    assert "hardly any" in film.notices[0]


def test_what_the_detector_clipped_does_not_count_against_a_window(tmp_path: Path) -> None:
    dark = np.where(_X < 60, 0, SMOOTH).astype(np.uint16)  # half of the film is 0: air
    film = film_of(tmp_path / "film", dark, WindowCenter=2200, WindowWidth=3600)
    assert film.notices == ()


# ---- padding -------------------------------------------------------------------------------------------


def framed(value: int, kind: type = np.uint16) -> tuple[np.ndarray, np.ndarray]:
    """Return SMOOTH in a frame of `value`, and where the frame is."""
    frame = np.ones(SMOOTH.shape, bool)
    frame[15:-15, 20:-20] = False
    return np.where(frame, value, SMOOTH).astype(kind), frame


@pytest.mark.parametrize(
    ("value", "kind", "elements"),
    [
        (65535, np.uint16, {"BitsStored": 16, "HighBit": 15}),  # not declared
        (65535, np.uint16, {}),  # not declared, above the 12 stored bits
        (-2000, np.int16, {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1}),  # not declared
        (63536, np.uint16, {"PixelPaddingValue": -2000}),  # the tag has the other sign
        (
            -2000,
            np.int16,
            {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1, "PixelPaddingValue": 63536},
        ),
        (1, np.uint16, {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 3}),
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_padding_is_black_and_no_part_of_the_range(
    tmp_path: Path, value: int, kind: type, elements: dict[str, Any], photometric: str
) -> None:
    stored, frame = framed(value, kind)
    path = tmp_path / "film"
    padding = {key: value for key, value in elements.items() if key.startswith("PixelPadding")}
    others = {key: value for key, value in elements.items() if key not in padding}
    path.write_bytes(dicom(stored, ExplicitVRLittleEndian, PhotometricInterpretation=photometric, **others))
    dataset = pydicom.dcmread(path)
    for key, number in padding.items():
        dataset.add_new(key, "SS" if number < 0 else "US", number)
    dataset.save_as(path)
    film = read_film(path)
    inside = ramp(SMOOTH[~frame])
    wanted = 1 - inside if photometric == "MONOCHROME1" else inside
    assert film.pixels[~frame] == pytest.approx(wanted, abs=1e-5)
    assert (film.pixels[frame] == 0).all()


def test_a_marker_a_burnt_out_corner_and_a_narrow_gap_are_no_padding(tmp_path: Path) -> None:
    marked = SMOOTH.copy()
    marked[40:50, 40:46] = 65535  # a letter inside the film
    film = film_of(tmp_path / "film", marked, BitsStored=16, HighBit=15)
    assert film.pixels[45, 43] == 1
    white, _ = framed(int(SMOOTH.max()) + 200)  # shutters
    assert film_of(tmp_path / "film", white).pixels[0, 0] == 1


# ---- geometry ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "spacing", "aspect"),
    [
        ({"PixelSpacing": [3.0, 2.0]}, (3.0, 2.0), 1.5),
        ({"PixelSpacing": None, "PixelAspectRatio": [3, 2]}, None, 1.5),
        ({"PixelSpacing": [0.3, 0.2], "PixelAspectRatio": [1, 1]}, None, 1.5),  # a wrong unit, a right ratio
        ({"PixelSpacing": [0.1, 90.0]}, None, 1.0),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [2.2, 2.2]}, (2.2, 2.2), 1.0),
        (
            {
                "PixelSpacing": None,
                "ImagerPixelSpacing": [2.2, 2.2],
                "EstimatedRadiographicMagnificationFactor": 1.1,
            },
            (2.0, 2.0),
            1.0,
        ),
        (
            {"PixelSpacing": [2.0, 2.0], "EstimatedRadiographicMagnificationFactor": 1.1},
            (2.0, 2.0),  # PixelSpacing is the patient's by itself
            1.0,
        ),
    ],
)
def test_spacing_and_aspect(
    tmp_path: Path, elements: dict[str, Any], spacing: tuple[float, float] | None, aspect: float
) -> None:
    film = film_of(tmp_path / "film", **elements)
    assert film.spacing_mm == (None if spacing is None else pytest.approx(spacing))
    assert film.aspect == pytest.approx(aspect)
    assert read_header(tmp_path / "film").spacing_mm == film.spacing_mm


def test_a_spacing_that_takes_the_place_of_an_impossible_one_says_so(tmp_path: Path) -> None:
    film = film_of(tmp_path / "film", PixelSpacing=[0.2, 0.2], ImagerPixelSpacing=[2.0, 2.0])
    assert film.spacing_mm == (2.0, 2.0)
    assert film.notices == (
        "The PixelSpacing is not plausible and was ignored: ImagerPixelSpacing was used instead.",
        "The spacing is that of the detector: distances in the patient are slightly smaller.",
    )


def test_the_detectors_spacing_with_fewer_digits_is_still_the_detectors(tmp_path: Path) -> None:
    elements = {"ImagerPixelSpacing": [2.0004, 2.0004], "EstimatedRadiographicMagnificationFactor": 1.1}
    assert film_of(tmp_path / "film", PixelSpacing=[2.0, 2.0], **elements).spacing_mm == pytest.approx(
        (2 / 1.1, 2 / 1.1)
    )
    corrected = film_of(tmp_path / "other", PixelSpacing=[1.98, 1.98], **elements)
    assert (corrected.spacing_mm, corrected.notices) == ((1.98, 1.98), ())


@pytest.mark.parametrize(
    ("column", "possible"), [(0.08, False), (0.8, True), (1.4, True), (1.5, False), (8, False)]
)
def test_a_spacing_is_judged_by_the_films_width(column: float, possible: bool) -> None:
    assert possible_spacing((column, column), (512, 421)) == ((column, column) if possible else None)


def test_an_enhanced_object_of_one_frame_has_its_spacing_in_groups(tmp_path: Path) -> None:
    measures, window, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [2.5, 2.5]
    window.WindowCenter, window.WindowWidth = 2000, 4000
    shared.PixelMeasuresSequence, shared.FrameVOILUTSequence = [measures], [window]
    film = film_of(
        tmp_path / "film", PixelSpacing=None, NumberOfFrames=1, SharedFunctionalGroupsSequence=[shared]
    )
    assert film.spacing_mm == (2.5, 2.5)
    assert film.pixels == pytest.approx(np.clip((SMOOTH - 1999.5) / 3999 + 0.5, 0, 1), abs=1e-5)


# ---- header words --------------------------------------------------------------------------------------


def coded(meaning: str, code: str = "1") -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SCT", meaning
    return [item]


@pytest.mark.parametrize(
    ("elements", "told"),
    [
        ({"ViewPosition": "LL"}, Told("lateral")),
        ({"ViewPosition": "LATERAL"}, Told("lateral")),
        ({"ViewPosition": "RL "}, Told("lateral")),
        ({"ViewPosition": "RAO"}, Told("oblique")),
        ({"ViewPosition": "LLD"}, Told("frontal")),
        ({"ViewPosition": "AP", "SeriesDescription": "Thorax LAT"}, Told("frontal")),
        ({"ViewCodeSequence": coded("left lateral")}, Told("lateral")),
        ({"ViewCodeSequence": coded("Lateral projection")}, Told("lateral")),
        ({"ViewCodeSequence": coded("postero-anterior")}, Told("frontal")),
        ({"ViewCodeSequence": coded("right oblique")}, Told("oblique")),
        ({"ViewCodeSequence": coded("боковая", "399067008")}, Told("lateral")),
        ({"ViewCodeSequence": coded("側面", "R-10236")}, Told("lateral")),
        ({"ViewCodeSequence": coded("Boczne", "399198007"), "ViewPosition": "PA"}, Told("frontal")),
        ({"ViewCodeSequence": coded("skrå", "399356000")}, Told("oblique")),
        ({"ViewCodeSequence": coded("", "399067008\\1")}, Told("lateral")),
        ({"ViewCodeSequence": coded("正面", "272479007"), "SeriesDescription": "LAT"}, Told("frontal")),
        ({"SeriesDescription": "Chest LAT"}, Told("lateral")),
        ({"SeriesDescription": "Chest PA and LAT"}, Told()),
        ({"ProtocolName": "Chest Profile 2"}, Told()),
        ({"ProtocolName": "CXR LATERALITY NA"}, Told()),
        ({"ProtocolName": "Torax Frente y Perfil"}, Told()),
        ({"ProtocolName": "Thorax de face et de profil"}, Told()),
        ({"ProtocolName": "Thorax de profil"}, Told("lateral")),
        ({"PatientOrientation": ["A", "F"]}, Told("lateral", right_edge="A")),
        ({"BodyPartExamined": "HAND"}, Told(body_part="hand")),
        ({"BodyPartExamined": "ABDOMEN"}, Told(body_part="abdomen")),
        ({"BodyPartExamined": "PORT CHEST"}, Told()),
        ({"BodyPartExamined": "THORAX"}, Told()),
        ({"BodyPartExamined": ""}, Told()),
        ({"AnatomicRegionSequence": coded("Knee")}, Told(body_part="knee")),
        ({"AnatomicRegionSequence": coded("Chest")}, Told()),
        *(
            ({"ViewPosition": word, "SeriesDescription": "Chest"}, Told("lateral"))
            for word in (
                "L LAT",
                "LAT-L",
                "LATERAL LEFT",
                "LAT ERECT",
                "LAT (L)",
                "CROSS-TABLE LATERAL",
                "XTABLE",
                "LATERALE",
                "L_LAT",
                "PROFIL",
                "SEITLICH",
                "LATERAL PA",
                "PA LATERAL",
                "LL ERECT",
                "LTLAT",
                "LATR",
                "LLATERAL",
            )
        ),
        *(
            ({"ViewPosition": view}, Told("frontal"))
            for view in ("LAT DECUB", "LL DECUB", "RL_DECUBITUS", "LLAT DECUB", "LL PA", "FRONT")
        ),
        ({"SeriesDescription": "CHEST FRONT/LAT"}, Told()),
        ({"ViewPosition": "ERECT", "ViewCodeSequence": coded("latéral")}, Told("lateral")),
        ({"ViewPosition": "SITTING", "SeriesDescription": "Chest LAT"}, Told("lateral")),
        ({"ViewPosition": "UPRIGHT", "PatientOrientation": ["A", "F"]}, Told("lateral", right_edge="A")),
        ({"ViewCodeSequence": coded("latero-medial")}, Told("lateral")),
        ({"ViewCodeSequence": coded("antero-posterior")}, Told("frontal")),
        *(
            ({"BodyPartExamined": word}, Told())
            for word in (
                "TORACE",
                "POITRINE",
                "BORST",
                "TÓRAX",
                "TORAKS",
                "PECHO",
                "BRYSTKORG",
                "AIRWAY",
                "BRONCHUS",
                "MEDIASTINUM",
                "GENERAL",
                "DEFAULT",
                "BODY",
                "NULL",
                "NOT SPECIFIED",
                "OTHER",
                "胸部",
                "T SPINE CHEST",
                "ABDOMEN CHEST",
            )
        ),
        *(
            ({"BodyPartExamined": word}, Told(body_part=word.lower()))
            for word in (
                "LSPINE",
                "C SPINE",
                "TSPINE",
                "LOW LEG",
                "KNIE",
                "PELVIS",
                "SKULL",
                "FOOT",
                "SHOULDER",
                "ANKLEJOINT",
                "SI JOINT",
                "UPPERLIMB",
                "LOWERLEG",
                "UP EXM",
                "RHAND",
                "HAENDE",
                "METACARPUS",
                "ESOPHAGUS",
                "KUB",
                "SCROTUM",
            )
        ),
        ({"BodyPartExamined": "SCHÄDEL"}, Told(body_part="schadel")),
        ({"BodyPartExamined": "HAND_LEFT"}, Told(body_part="hand left")),
        ({"PatientOrientation": ["L", "F"]}, Told(right_edge="L")),
        ({"PatientOrientation": ["R", "F"]}, Told(right_edge="R")),
        ({"PatientOrientation": ["F", "R"]}, Told(on_its_side=True, right_edge="F")),
        ({"PatientOrientation": ["HR", "L"]}, Told(on_its_side=True, right_edge="H")),
        ({"PatientOrientation": ["P", "F"], "ViewPosition": "PA"}, Told("frontal", right_edge="P")),
        ({"PatientOrientation": ""}, Told()),
    ],
)
def test_what_the_header_says(elements: dict[str, Any], told: Told) -> None:
    dataset = Dataset()
    with quiet():  # pydicom warns of letters with accents
        for key, value in elements.items():
            setattr(dataset, key, value)
    assert told_by(dataset) == told
