"""What a person does with the page: drop films, draw boxes, click points, sort a batch, save results."""

import base64
import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from page_dicom import DICOM
from page_pictures import PICTURES
from PIL import Image
from typer.testing import CliRunner

from adaloraqat import Segmenter
from adaloraqat.batch.csv_files import COLUMNS
from adaloraqat.batch.film_entry import FilmEntry
from adaloraqat.cli.main import app
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.radiograph import Box

FAST, WHOLE = "lung-field-fast", "lung-whole-fast"

DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name));
  for (const kind of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    write_phantoms(folder, 3, seed=5, size=256)
    return sorted((folder / "images").glob("*.png"))


def mask_of(path: Path) -> np.ndarray:
    image = Image.open(path)
    assert image.mode == "L"
    mask = np.asarray(image)
    assert set(np.unique(mask)) <= {0, 255}
    return mask > 0


def test_a_dropped_film_is_outlined_as_python_does_and_nothing_is_requested(
    opened: Callable[..., Any], films: list[Path], tmp_path: Path
) -> None:
    page = opened()
    page.wait_loaded()
    before = page.requests()
    page.page.evaluate(DROP, [films[0].name, base64.b64encode(films[0].read_bytes()).decode()])
    page.wait_done(1)
    expected = Segmenter.load("lung-field-fast").segment(films[0])
    assert page.page.locator(".expected-number").inner_text().endswith(f"{expected.quality:.2f}")
    assert "is outlined" in page.page.locator("[data-announcement]").inner_text()
    mask = mask_of(page.saved("Mask", tmp_path))
    assert mask.shape == expected.mask.shape
    assert (mask == expected.mask).mean() >= 0.999
    document = json.loads(page.saved("JSON", tmp_path).read_text())
    assert set(document) == {"model", "outlines", "engine", "warnings", "notices", "results"}
    [entry] = document["results"]
    assert set(entry) == set(FilmEntry.of(expected).to_dict())
    assert entry["area_px"] == mask.sum()
    assert entry["warnings"] == list(expected.warnings)
    overlay = np.asarray(Image.open(page.saved("Overlay", tmp_path)))
    assert overlay.shape == (*mask.shape, 3)
    assert np.ptp(overlay, axis=2)[mask].mean() > 10
    assert page.page.get_by_role("button", name="DICOM SEG").is_disabled()
    assert page.requests() == before


def stage_place(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a share of the film's width and height lies in the window; the film is fitted."""
    box = page.locator(".stage").bounding_box()
    side = min(box["width"], box["height"]) - 40
    left, top = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2
    return left + x * side, top + y * side


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*stage_place(page, *start))
    page.mouse.down()
    page.mouse.move(*stage_place(page, (start[0] + end[0]) / 2, (start[1] + end[1]) / 2))
    page.mouse.move(*stage_place(page, *end))
    page.mouse.up()


def outlined(page: Any) -> dict[str, Any]:
    """The result as the panel tells it."""
    names = page.locator(".measure dt").all_inner_texts()
    return dict(zip(names, page.locator(".measure dd").all_inner_texts(), strict=True))


def test_a_box_is_drawn_moved_undone_and_deleted(
    opened: Callable[..., Any], films: list[Path], tmp_path: Path
) -> None:
    window = opened()
    window.wait_loaded()
    window.choose(films[1])
    window.wait_done(1)
    page = window.page
    own = outlined(page)["Area"]
    page.get_by_role("button", name="Box", exact=True).click()
    drag(page, (0.05, 0.1), (0.5, 0.9))
    page.get_by_text("your box", exact=True).wait_for()
    document = json.loads(window.saved("JSON", tmp_path).read_text())["results"][0]
    assert document["box_source"] == "given"
    assert document["box"] == pytest.approx([13, 26, 128, 230], abs=3)
    expected = Segmenter.load("lung-field-fast").segment(films[1], box=Box(*document["box"]))
    assert (mask_of(window.saved("Mask", tmp_path)) == expected.mask).mean() >= 0.999
    drag(page, (0.25, 0.5), (0.65, 0.5))  # from its middle: moves it
    page.wait_for_timeout(1000)  # the box is in the prompt at once, its outline soon after
    moved = json.loads(window.saved("JSON", tmp_path).read_text())["results"][0]["box"]
    assert moved[0] == pytest.approx(document["box"][0] + 102, abs=3)
    assert moved[2] - moved[0] == document["box"][2] - document["box"][0]
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    page.get_by_text("the model itself").wait_for()
    assert outlined(page)["Area"] == own
    page.get_by_role("button", name="Redo").click()
    page.get_by_text("your box", exact=True).wait_for()
    page.get_by_role("button", name="Delete the box").click()
    page.get_by_text("the model itself").wait_for()
    # the same by keys alone: two corners by the cross
    page.locator(".stage").focus()
    for key in ("ArrowLeft", "Enter", *(["ArrowDown"] * 4), *(["ArrowRight"] * 6), "Enter"):
        page.keyboard.press(key)
    page.get_by_text("your box", exact=True).wait_for()


def test_points_need_a_model_that_takes_them(
    opened: Callable[..., Any], films: list[Path], tmp_path: Path
) -> None:
    window = opened()
    window.wait_loaded()
    window.choose(films[0])
    window.wait_done(1)
    page = window.page
    inside = page.get_by_role("button", name="Inside")
    assert inside.get_attribute("aria-disabled") == "true"
    before = window.requests()
    page.get_by_label("Model").select_option("lung-field")
    page.wait_for_selector('[data-check="running"]')
    page.wait_for_selector('[data-check="passed"]')
    window.wait_done(1)
    asked = [line.split()[1] for line in window.requests()[len(before) :]]
    assert all(address.startswith(("/models/lung-field/", "/assets/")) for address in asked), asked
    inside.click()
    page.mouse.click(*stage_place(page, 0.3, 0.4))
    page.get_by_text("your points").wait_for()
    page.get_by_role("button", name="Outside").click()
    page.mouse.click(*stage_place(page, 0.5, 0.95))
    page.get_by_text("your points").wait_for()
    page.wait_for_timeout(1500)
    entry = json.loads(window.saved("JSON", tmp_path).read_text())["results"][0]
    assert [label for _, _, label in entry["points"]] == [1, 0]
    expected = Segmenter.load("lung-field").segment(
        films[0], points=[tuple(point[:2]) for point in entry["points"]], labels=[1, 0]
    )
    assert (mask_of(window.saved("Mask", tmp_path)) == expected.mask).mean() >= 0.999


@pytest.mark.parametrize("films", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_a_batch_becomes_a_table_that_is_sorted_by_quality(
    opened: Callable[..., Any], films: int, tmp_path: Path
) -> None:
    write_phantoms(tmp_path / "phantoms", films, seed=9, size=96)
    batch = sorted((tmp_path / "phantoms/images").glob("*.png"))
    broken = tmp_path / "broken.png"
    broken.write_bytes(batch[0].read_bytes()[:900])
    letter = tmp_path / "letter.png"
    letter.write_text("Dear colleague")
    window = opened()
    window.wait_loaded()
    before = window.requests()
    window.choose(*batch, broken, letter)
    window.wait_done(films + 2)
    page = window.page
    told = page.locator(".row[data-stage=failed] .row-state").all_inner_texts()
    assert len(told) == 2
    assert told[1].startswith("letter.png is not a film in a known format")
    page.get_by_role("button", name="Table", exact=True).click()
    table = page.get_by_role("region", name="Table of films")
    table.get_by_role("button", name="Quality").click()
    heading = table.locator("th[aria-sort=ascending]")
    assert heading.inner_text().startswith("Quality")
    shown = table.locator("tbody .quality").all_inner_texts()
    assert len(shown) == films
    assert [float(one) for one in shown] == sorted(float(one) for one in shown)
    assert table.locator("tbody tr").last.get_attribute("data-stage") == "failed"  # what has none comes last
    rows = list(csv.DictReader(io.StringIO(window.saved("CSV", tmp_path).read_text())))
    assert tuple(rows[0]) == COLUMNS
    assert [row["failure"] for row in rows].count("film") == 2
    with zipfile.ZipFile(window.saved("Masks", tmp_path)) as archive:
        names = archive.namelist()
        assert len([name for name in names if name.endswith("_mask.png")]) == films
        assert json.loads(archive.read("results.json"))["results"][0]["mask"] in names
    assert window.requests() == before


def test_a_dicom_film_gives_a_segmentation_that_highdicom_reads(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    film = dicom_film(tmp_path, PatientName="Sørensen^Åse", SpecificCharacterSet="ISO_IR 100")
    dataset = pydicom.dcmread(film)
    window = opened()
    window.wait_loaded()
    before = window.requests()
    window.choose(film)
    window.wait_done(1)
    assert "cm²" in outlined(window.page)["Area"]
    mask = mask_of(window.saved("Mask", tmp_path))
    path = window.saved("DICOM SEG", tmp_path)
    assert path.name == f"{film.stem}_seg.dcm"
    right, left, _ = segments(path, dataset)
    np.testing.assert_array_equal(right | left, mask)
    assert not (right & left).any()
    read = highdicom.seg.segread(path)
    for key in ("PatientID", "PatientName", "StudyInstanceUID", "PatientSex"):
        assert (read.get(key) or None) == (dataset.get(key) or None), (
            key
        )  # present, where the film has it not
    assert window.requests() == before


def test_a_segmentation_is_the_shells_segment_by_segment(opened: Callable[..., Any], tmp_path: Path) -> None:
    """Sure sides, sides that the heart contradicts, and a model that tells no structures apart."""
    usual = dicom_film(tmp_path / "usual", PatientOrientation=["L", "F"])
    turned = dicom_film(tmp_path / "turned", PatientOrientation=["R", "F"])
    window = opened()
    window.wait_loaded()
    page = window.page
    window.choose(usual)
    window.wait_done(1)
    sides = ["Right lung", "Left lung"]
    assert labels_as_in_the_shell(window, usual, FAST) == [*sides, "Heart"]
    page.get_by_role("button", name="Box", exact=True).click()
    drag(page, (0.05, 0.1), (0.95, 0.9))
    page.get_by_text("your box", exact=True).wait_for()
    box = json.loads(window.saved("JSON", tmp_path).read_text())["results"][0]["box"]
    assert labels_as_in_the_shell(window, usual, FAST, "--box", *box) == ["Lung"]
    page.get_by_role("button", name="Delete the box").click()
    page.get_by_text("the model itself").wait_for()
    window.choose(turned)
    window.wait_done(2)
    page.locator(".row-button").last.click()
    page.get_by_text("mirrored-or-dextrocardia").wait_for()
    assert labels_as_in_the_shell(window, turned, FAST) == ["Lung", "Heart"]
    page.get_by_label("Model").select_option(WHOLE)
    page.wait_for_selector('[data-check="passed"]')
    window.wait_done(2)
    assert labels_as_in_the_shell(window, turned, WHOLE) == sides[::-1]


def test_neither_sides_nor_ratios_are_saved_of_a_film_that_is_no_upright_frontal_one(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    told = {"PatientOrientation": ["L", "F"]}
    films = (
        dicom_film(tmp_path / "knee", BodyPartExamined="KNIE", **told),
        dicom_film(tmp_path / "lateral", ViewPosition="PROFIL", **told),
        dicom_film(tmp_path / "back", PatientOrientation=["P", "R"]),
    )
    window = opened()
    window.wait_loaded()
    for number, film in enumerate(films):
        window.choose(film)
        window.wait_done(number + 1)
        window.page.locator(".row-button").last.click()
        window.page.get_by_text("uncertain: the film is no upright frontal one").first.wait_for()
        assert labels_as_in_the_shell(window, film, FAST) == ["Lung", "Heart"]
        measured = json.loads(window.saved("JSON", tmp_path).read_text())["results"][0]["measures"]
        assert (measured["cardiothoracic_ratio"], measured["lung_ratio"]) == (None, None)
        assert measured["sides_certain"] is False


def dicom_film(folder: Path, **elements: Any) -> Path:
    """Write a phantom as DICOM, with these elements."""
    write_phantoms(folder, 1, seed=5, size=256, dicom=True)
    [film] = (folder / "images").glob("*.dcm")
    dataset = pydicom.dcmread(film)
    for key, value in elements.items():
        setattr(dataset, key, value)
    dataset.save_as(film)
    return film


def segments(path: Path, film: pydicom.Dataset) -> np.ndarray:
    """Return the segments of a film's segmentation, (segments, H, W) bool, as highdicom reads them."""
    pixels = highdicom.seg.segread(path).get_pixels_by_source_instance([film.SOPInstanceUID])
    return np.moveaxis(pixels[0], -1, 0).astype(bool)


CHANGING = (
    *("SOPInstanceUID", "SeriesInstanceUID", "DimensionOrganizationUID"),
    *("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime"),
    *("SpecificCharacterSet", "ContributingEquipmentSequence", "PixelData"),
)
"""What is new in each object, or says which library wrote it; the pixels are compared by themselves."""


def told(path: Path) -> dict[str, Any]:
    """Return all that an object says but what changes; a UID that it refers to stays."""
    dataset = pydicom.dcmread(path)
    for key in CHANGING:
        dataset.pop(key, None)
    for sequence in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        del dataset[sequence][0].DimensionOrganizationUID
    return json.loads(dataset.to_json())


def labels_as_in_the_shell(window: Any, film: Path, model: str, *options: object) -> list[str]:
    """Compare the segmentation that the page saves with the shell's; return the labels of its segments."""
    out = film.parent / f"shell-{model}-{len(options)}"
    command = ["segment", film, "--model", model, "--dicom", "seg", "--out", out, "-q", *options]
    assert CliRunner().invoke(app, list(map(str, command)), catch_exceptions=False).exit_code == 0
    shell = out / f"{film.stem}_seg.dcm"
    page = window.saved("DICOM SEG", out.with_name(f"page-{out.name}"))
    assert told(page) == told(shell)
    dataset = pydicom.dcmread(film)
    ours, theirs = segments(page, dataset), segments(shell, dataset)
    assert ours.shape == theirs.shape
    assert min((ours == theirs).mean(axis=(1, 2))) >= 0.999
    return [segment.SegmentLabel for segment in pydicom.dcmread(page).SegmentSequence]


@pytest.mark.slow  # test_vectors.py reads them by the same engine in node
def test_every_kind_of_film_is_read_in_the_browser_without_a_request(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    kinds = {**PICTURES, **DICOM}
    for name, write in kinds.items():
        write(tmp_path / name)
    window = opened()
    window.wait_loaded()
    before = window.requests()
    window.choose(*(tmp_path / name for name in kinds))
    window.wait_done(len(kinds))
    assert window.page.locator(".row[data-stage=failed]").all_inner_texts() == []
    assert window.requests() == before


@pytest.mark.parametrize(
    ("lacking", "sentence"),
    [
        ("WebAssembly.validate = () => false;", "no WebAssembly SIMD"),
        ("Object.defineProperty(navigator, 'deviceMemory', { value: 0.5 });", "0.5 GB of memory"),
    ],
)
def test_what_a_browser_lacks_is_a_sentence(opened: Callable[..., Any], lacking: str, sentence: str) -> None:
    page = opened(lacking).page
    assert sentence in page.get_by_role("alert").inner_text()


def test_the_page_says_what_it_is(opened: Callable[..., Any]) -> None:
    window = opened()
    window.wait_loaded()
    footer = window.page.locator(".footer").inner_text()
    assert "Films never leave this computer" in footer
    assert "not a medical device" in footer
    assert "lung-field-fast: Research use only" in footer
    assert "Self-check passed" in window.page.locator(".header").inner_text()
