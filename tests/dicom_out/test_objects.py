"""What is written is read back by pydicom and highdicom, and judged by dciodvfy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_films import Written, lungs, result_of, write_film
from drawn_back import edge, farthest, filled, polylines, walked

from adaloraqat import __version__
from adaloraqat.bundle.format import Bundle
from adaloraqat.bundle.segmentation import Segmentation, Structures
from adaloraqat.dicom_out import KINDS
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import Box

UPRIGHT = ["L", "F"]
OF_PATIENT_AND_STUDY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate"),
    *("StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName"),
)


def test_patient_and_study_stay_and_uids_are_new(write: Callable[..., Written], tmp_path: Path) -> None:
    changes = {
        "PatientBirthDate": "19500102",
        "PatientSex": "F",
        "StudyDate": "20240506",
        "StudyTime": "0708",
    }
    film = write_film(tmp_path / "film.dcm", AccessionNumber="A7", StudyID="S1", **changes)
    source = pydicom.dcmread(film)
    objects = write(film, result_of(lungs()))
    for written in objects.values():
        for key in OF_PATIENT_AND_STUDY:
            assert written.get(key) == source.get(key, ""), key
        assert __version__ in written.SoftwareVersions
        assert written.SeriesDescription.startswith("Research only, not for diagnosis")
        assert written.SeriesNumber > 9000
    everyone = [source, *objects.values()]
    assert (
        len({one.SeriesInstanceUID for one in everyone}) == len({one.SOPInstanceUID for one in everyone}) == 4
    )
    again = write(film, result_of(lungs()))
    assert all(again[kind].SOPInstanceUID != objects[kind].SOPInstanceUID for kind in KINDS)
    assert [objects[kind].Modality for kind in KINDS] == ["SEG", "SR", "PR"]


def test_a_segmentation_holds_the_mask(write: Callable[..., Written], tmp_path: Path, model: Bundle) -> None:
    film = write_film(tmp_path / "film.dcm")
    mask = lungs()
    written = write(film, result_of(mask))["seg"]
    np.testing.assert_array_equal(written.pixel_array.astype(bool), mask)
    read = highdicom.seg.segread(tmp_path / "film_seg.dcm")
    pixels = read.get_pixels_by_source_instance([pydicom.dcmread(film).SOPInstanceUID])
    np.testing.assert_array_equal(pixels[0, :, :, 0].astype(bool), mask)
    segment = read.get_segment_description(1)
    assert segment.segment_label == "Lung"
    assert (segment.segmented_property_type.value, segment.algorithm_type.value) == ("39607008", "AUTOMATIC")
    [algorithm] = segment.algorithm_identification
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("AdaLoRA-QAT tiny", __version__)
    assert all(record.sha256 in algorithm.AlgorithmParameters for record in model.files.values())
    assert "Research only" in segment.SegmentDescription


@pytest.mark.parametrize(("toward", "labels"), [("L", ["Right", "Left"]), ("R", ["Left", "Right"])])
def test_sides_where_the_header_tells_them(
    write: Callable[..., Written], tmp_path: Path, toward: str, labels: list[str]
) -> None:
    film = write_film(tmp_path / "film.dcm", PatientOrientation=[toward, "F"])
    mask = lungs()
    mask[2, 78] = True  # a speck: of the lung that is nearer
    written = write(film, result_of(mask))
    frames = written["seg"].pixel_array.astype(bool)
    assert frames.shape == (2, *mask.shape)
    np.testing.assert_array_equal(frames[0] | frames[1], mask)
    assert not (frames[0] & frames[1]).any()
    assert frames[0].nonzero()[1].max() < 40 <= frames[1].nonzero()[1].min()
    for number, label in enumerate(labels):
        segment = written["seg"].SegmentSequence[number]
        assert segment.SegmentLabel == f"{label} lung"
        [kind] = segment.SegmentedPropertyTypeCodeSequence
        assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == label
    groups = highdicom.sr.srread(tmp_path / "film_sr.dcm").content.get_planar_roi_measurement_groups()
    assert [group.finding_sites[0].laterality.meaning for group in groups] == labels
    assert [group.get_measurements()[0].value for group in groups] == [int(half.sum()) for half in frames]


@pytest.mark.parametrize(
    ("orientation", "changes"),
    [
        (None, {}),
        (["P", "F"], {}),  # a lateral film
        (["F", "R"], {}),  # one that lies on its side
        (UPRIGHT, {"warnings": ["one-part: …"]}),
        (UPRIGHT, {"box_source": "given", "box": Box(0, 0, 40, 96)}),
        (UPRIGHT, {"box_source": "points"}),
        (UPRIGHT, {"box_source": "mask"}),
    ],
)
def test_no_sides_where_they_are_not_clear(
    write: Callable[..., Written], tmp_path: Path, orientation: list[str] | None, changes: dict[str, Any]
) -> None:
    film = write_film(tmp_path / "film.dcm", PatientOrientation=orientation)
    segments = write(film, result_of(lungs(), **changes), ("seg",))["seg"].SegmentSequence
    assert [segment.SegmentLabel for segment in segments] == ["Lung"]


@pytest.mark.parametrize(
    ("spacing", "unit", "factor"), [((0.2, 0.3), "mm2", 0.06), (None, "{pixels}", 1)], ids=["mm", "px"]
)
@pytest.mark.parametrize("kinds", [("sr",), ("seg", "sr")])
def test_a_report_gives_areas(
    write: Callable[..., Written],
    tmp_path: Path,
    spacing: tuple[float, float] | None,
    unit: str,
    factor: float,
    kinds: tuple[str, ...],
) -> None:
    film = write_film(tmp_path / "film.dcm")
    written = write(film, result_of(lungs(), spacing), kinds)
    report = highdicom.sr.srread(tmp_path / "film_sr.dcm")
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    content = report.content
    whole = content.get_image_measurement_groups()
    if "seg" in kinds:
        [group] = content.get_planar_roi_measurement_groups()
        [reference, _] = group.referenced_segmentation_frame
        assert reference.referenced_sop_instance_uid == written["seg"].SOPInstanceUID
    else:
        group = whole.pop(0)
    [area] = group.get_measurements()
    assert area.name.meaning == "Area"
    assert area.value == pytest.approx(lungs().sum() * factor, abs=0.01)
    assert area.unit.value == unit
    assert not whole  # no ratio where no model measured a heart


def structured(certain: bool = True, frontal: bool = True) -> Segmentation:
    """A film whose right lung is at the image's left, with a heart of 20 columns; the chest is 65 wide."""
    both = lungs()
    right, left = both & (np.arange(80) < 40), both & (np.arange(80) >= 40)
    heart = np.zeros_like(both)
    heart[60:80, 35:55] = True
    found = Structures(right, left, heart, both, "header", 0.1, certain, frontal)
    return result_of(both, (0.2, 0.3), structures=found)


def test_structures_have_their_own_segments_and_the_report_the_ratio(
    write: Callable[..., Written], tmp_path: Path
) -> None:
    written = write(write_film(tmp_path / "film.dcm"), structured(), ("seg", "sr"))
    segments = written["seg"].SegmentSequence
    told = [one.SegmentedPropertyTypeCodeSequence[0].CodeMeaning for one in segments]
    assert told == ["Lung", "Lung", "Heart"]
    sides = [one.SegmentedPropertyTypeCodeSequence[0] for one in segments]
    modifiers = [one.get("SegmentedPropertyTypeModifierCodeSequence") for one in sides]
    assert [one[0].CodeMeaning if one else None for one in modifiers] == ["Right", "Left", None]
    columns = np.flatnonzero(lungs().any(axis=0))
    ratio = 20 / (columns[-1] + 1 - columns[0])
    report = highdicom.sr.srread(tmp_path / "film_sr.dcm").content
    [group] = report.get_image_measurement_groups()
    [measured] = group.get_measurements()
    assert measured.name.meaning == "Cardiothoracic ratio"
    assert measured.value == pytest.approx(ratio, abs=1e-4)
    assert len(report.get_planar_roi_measurement_groups()) == 3


@pytest.mark.parametrize("kinds", [("sr",), ("seg", "sr")])
def test_of_another_view_the_area_of_both_lungs_is_told(
    write: Callable[..., Written], tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    written = write(write_film(tmp_path / "film.dcm"), structured(certain=False, frontal=False), kinds)
    if "seg" in kinds:
        assert [one.SegmentLabel for one in written["seg"].SegmentSequence] == ["Lung", "Heart"]
    content = highdicom.sr.srread(tmp_path / "film_sr.dcm").content
    [group] = [*content.get_image_measurement_groups(), *content.get_planar_roi_measurement_groups()]
    [area] = group.get_measurements()
    assert (area.name.meaning, area.value) == ("Area", pytest.approx(lungs().sum() * 0.06, abs=0.01))
    [site] = group.finding_sites
    assert (site.value.meaning, site.laterality) == ("Lung", None)


def test_a_mirrored_film_has_a_ratio_and_no_sides(write: Callable[..., Written], tmp_path: Path) -> None:
    written = write(write_film(tmp_path / "film.dcm"), structured(certain=False), ("seg", "sr"))
    assert [one.SegmentLabel for one in written["seg"].SegmentSequence] == ["Lung", "Heart"]
    [group] = highdicom.sr.srread(tmp_path / "film_sr.dcm").content.get_image_measurement_groups()
    [measured] = group.get_measurements()
    assert measured.name.meaning == "Cardiothoracic ratio"


def test_no_ratio_that_was_not_measured(write: Callable[..., Written], tmp_path: Path) -> None:
    written = write(write_film(tmp_path / "film.dcm"), result_of(lungs()), ("sr",))
    assert "ardiothoracic" not in str(written["sr"])


def all_borders() -> np.ndarray:
    mask = np.ones((96, 80), bool)
    mask[20:40, 30:50] = False
    mask[60:64, 5:9] = False
    return mask


@pytest.mark.parametrize(
    "mask", [lungs(), all_borders()], ids=["lungs", "touches all four borders, with holes"]
)
@pytest.mark.parametrize("spacing", [[2, 2], [3, 1.5], None])
def test_a_presentation_state_draws_the_edge(
    write: Callable[..., Written], tmp_path: Path, mask: np.ndarray, spacing: list[float] | None
) -> None:
    """Also where pixels are not square: PIXEL units count pixels, and the displayed area has their shape."""
    film = write_film(tmp_path / "film.dcm", PixelSpacing=spacing, ImagerPixelSpacing=spacing)
    state = write(film, result_of(mask), ("pr",))["pr"]
    lines = polylines(state)
    drawn, wanted = walked(lines), edge(mask)
    assert max(farthest(drawn, wanted), farthest(wanted, drawn)) <= 0.5
    np.testing.assert_array_equal(filled(lines, mask.shape), mask)
    [area] = state.DisplayedAreaSelectionSequence
    assert area.DisplayedAreaTopLeftHandCorner == [1, 1]
    assert area.DisplayedAreaBottomRightHandCorner == [80, 96]
    assert area.get("PresentationPixelSpacing") == spacing
    assert area.get("PresentationPixelAspectRatio") == (None if spacing else [1, 1])
    [series] = state.ReferencedSeriesSequence
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == pydicom.dcmread(film).SOPInstanceUID


def test_oblong_pixels_without_a_spacing(write: Callable[..., Written], tmp_path: Path) -> None:
    changes = {"PixelSpacing": None, "ImagerPixelSpacing": None, "PixelAspectRatio": [3, 2]}
    state = write(write_film(tmp_path / "film.dcm", **changes), result_of(lungs()), ("pr",))["pr"]
    assert state.DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio == [3, 2]


@pytest.mark.parametrize(("spacing", "shape"), [([1e-30, 1e-30], [1, 1]), ([2e-3, 1e-3], [2, 1])])
def test_a_spacing_that_no_film_has_is_not_shown(
    write: Callable[..., Written], tmp_path: Path, spacing: list[float], shape: list[int]
) -> None:
    film = write_film(tmp_path / "film.dcm", PixelSpacing=spacing, ImagerPixelSpacing=spacing)
    [area] = write(film, result_of(lungs()), ("pr",))["pr"].DisplayedAreaSelectionSequence
    assert "PresentationPixelSpacing" not in area
    assert area.PresentationPixelAspectRatio == shape


def test_a_very_long_outline_is_whole(write: Callable[..., Written], tmp_path: Path) -> None:
    """A comb with slanted teeth: one outline, and more points than an element of explicit VR may hold."""
    mask = np.zeros((420, 300), bool)
    mask[:, :100] = True
    rows, columns = np.mgrid[:420, :300]
    mask |= (rows + columns // 2) % 8 < 3
    film = write_film(tmp_path / "film.dcm", shape=(420, 300))
    lines = polylines(write(film, result_of(mask), ("pr",))["pr"])
    assert sum(map(len, lines)) > 8191 > max(map(len, lines)) > 4000
    np.testing.assert_array_equal(filled(lines, mask.shape), mask)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_station_shows_the_film_as_before(
    write: Callable[..., Written], tmp_path: Path, inverted: bool
) -> None:
    """By a presentation state a station ignores MONOCHROME1: the film would turn into its negative."""
    film = write_film(tmp_path / "film.dcm", inverted)
    state, source = write(film, result_of(lungs()), ("pr",))["pr"], pydicom.dcmread(film)
    assert state.PresentationLUTShape == ("INVERSE" if inverted else "IDENTITY")
    [voi] = state.SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth) == (source.WindowCenter, source.WindowWidth)


def test_a_coloured_film_gets_no_grey_scale_state(write: Callable[..., Written], tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", PhotometricInterpretation="RGB")
    with pytest.raises(FilmError, match=r"film.dcm is in colour, .* leave out pr"):
        write(film, result_of(lungs()))
    assert set(write(film, result_of(lungs()), ("seg", "sr"))) == {"seg", "sr"}


def test_doubts_are_shown_on_the_film(write: Callable[..., Written], tmp_path: Path) -> None:
    result = result_of(lungs(), warnings=["one-part: look", "odd-area: look"])
    state = write(write_film(tmp_path / "film.dcm"), result, ("pr",))["pr"]
    [text] = state.GraphicAnnotationSequence[0].TextObjectSequence
    assert "Research only" in text.UnformattedTextValue
    assert text.UnformattedTextValue.endswith("Doubtful: one-part, odd-area")


def test_an_empty_mask(write: Callable[..., Written], tmp_path: Path) -> None:
    objects = write(write_film(tmp_path / "film.dcm"), result_of(np.zeros((96, 80), bool)))
    assert not objects["seg"].pixel_array.any()
    assert polylines(objects["pr"]) == []
