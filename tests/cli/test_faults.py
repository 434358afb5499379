"""Films that hospitals send, by command: faulty ones cost nobody anything, each told by its true cause."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from tiny_bundle import two_lungs

Run = Callable[..., Any]
FAULTS = Path(os.environ.get("ADALORAQAT_FILMS", "")) / "faults"
real = pytest.mark.skipif("ADALORAQAT_FILMS" not in os.environ, reason="ADALORAQAT_FILMS is not set")
PLAIN = 0.969  # Dice of lung-field on the plain film
REFUSED = {
    "jpegll_prec_17.dcm": "are damaged",
    "q_jpegxl.dcm": "JPEG XL",
    "p_private_ts.dcm": "private to its manufacturer",
}
WARNED = {
    "view_lateral_tag.dcm": "lateral",
    "body_hand.dcm": "not-a-chest",
    "orient_rot90.dcm": "on-its-side",
}
NOTED = {
    "window_bone_only.dcm": "window",
    "window_for_8bit_on_12.dcm": "window",
    "x_8bit_window16.dcm": "window",
    "spacing_cm.dcm": "not plausible",
}


def entries(ended: Any) -> dict[str, dict[str, Any]]:
    return {entry["path"]: entry for entry in json.loads(ended.out)["results"]}


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def truth(name: str, shape: tuple[int, int]) -> np.ndarray:
    picture = Image.open(FAULTS / ("mask_framed.png" if name.startswith("pad_") else "mask.png"))
    return np.asarray(picture.resize(shape[::-1], Image.Resampling.NEAREST)) > 0


@real
def test_every_fault_by_one_command(run: Run, tmp_path: Path) -> None:
    films = sorted(FAULTS.glob("*.dcm"))
    ended = run("segment", *films, "--out", tmp_path / "out", "--json")
    assert ended.code == 1, ended.err
    found = entries(ended)
    assert {name for name, entry in found.items() if entry["error"]} == set(REFUSED)
    for name, words in REFUSED.items():
        assert words in found[name]["error"]
    for name, entry in found.items():
        if entry["error"]:
            continue
        codes = [warning.split(":")[0] for warning in entry["warnings"]]
        notices = " ".join(entry["notices"])
        assert WARNED.get(name, "no warning of its own") in [*codes, "no warning of its own"], name
        assert NOTED.get(name, "") in notices, name
        assert "blank-film" not in codes
        if name != "orient_rot90.dcm":
            mask = np.asarray(Image.open(tmp_path / "out" / entry["mask"])) > 0
            assert dice(mask, truth(name, mask.shape)) > PLAIN - 0.005, name
    assert found["spacing_cm.dcm"]["spacing_mm"] is found["spacing_cm.dcm"]["area_mm2"] is None


@real
def test_a_study_and_a_collision_of_names(run: Run, tmp_path: Path) -> None:
    ended = run("segment", FAULTS / "study", "--out", tmp_path / "study", "--json")
    assert ended.code == 0, ended.err
    assert set(entries(ended)) >= {"film.dcm", "other.jpg", "other.webp"}
    assert "1 .txt, 1 PR, 1 SEG, 1 SR" in ended.err
    ended = run("segment", FAULTS / "collision", "--out", tmp_path / "out", "--json")
    assert ended.code == 0, ended.err
    assert {name: entry["mask"] for name, entry in entries(ended).items()} == {
        "film.dcm": "film.dcm_mask.png",
        "film.png": "film.png_mask.png",
        "other.png": "other_mask.png",
    }


def written(path: Path, sop_class: str, film: np.ndarray | None = None, **elements: Any) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    if film is not None:
        dataset.Rows, dataset.Columns = film.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation, dataset.PixelData = 7, 0, film.tobytes()
    for key, value in elements.items():
        setattr(dataset, key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


CLASSES = {
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
    "SR": "1.2.840.10008.5.1.4.1.1.88.22",
    "PR": "1.2.840.10008.5.1.4.1.1.11.1",
    "KO": "1.2.840.10008.5.1.4.1.1.88.59",
    "RT": "1.2.840.10008.5.1.4.1.1.481.3",
}
DX = "1.2.840.10008.5.1.4.1.1.1.1"


def test_a_study_of_films_and_other_objects(run: Run, bundle: Path, tmp_path: Path) -> None:
    film = two_lungs()
    written(tmp_path / "in/film.dcm", DX, film)
    written(tmp_path / "in/1.2.840.7", DX, film)  # archives name files by their UIDs
    for word, sop_class in CLASSES.items():
        written(tmp_path / f"in/{word}.dcm", sop_class, film)
        written(tmp_path / f"in/1.2.840.{len(word)}{ord(word[0])}", sop_class)
    for name in ("notes.txt", "table.csv", "more.txt", "LICENSE", ".hidden"):
        (tmp_path / "in" / name).write_bytes(b"any")
    Image.fromarray(film).save(tmp_path / "in/film.webp", lossless=True)
    ended = run("segment", "in", "--model", bundle, "--out", "out", "--json")
    assert ended.code == 0, ended.err
    assert sorted(entries(ended)) == ["1.2.840.7", "film.dcm", "film.webp"]
    counted = "1 .csv, 2 .txt, 2 KO, 2 PR, 2 RT, 2 SEG, 2 SR, 1 no suffix"
    assert f"Skipped, because they are not films: {counted}." in ended.err
    for word in CLASSES:  # given by itself, each is refused by what it is
        ended = run("segment", f"in/{word}.dcm", "--model", bundle, "--out", "out")
        assert ended.code == 2
        assert f"({word}) and holds no film" in ended.err


def test_names_that_differ_in_their_suffix_keep_it(run: Run, bundle: Path, tmp_path: Path) -> None:
    for name in ("film.png", "film.bmp", "film.bmp.png", "other.png"):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(two_lungs()).save(tmp_path / "in" / name)
    ended = run("segment", "in", "--model", bundle, "--out", "out", "--overlay", "--json")
    assert ended.code == 0, ended.err
    masks = {name: entry["mask"].split("/")[-1] for name, entry in entries(ended).items()}
    assert masks == {
        "film.png": "film.png_mask.png",
        "film.bmp": "film.bmp_mask.png",
        "film.bmp.png": "film.bmp.png_mask.png",
        "other.png": "other_mask.png",
    }
    assert len(list((tmp_path / "out").iterdir())) == 8


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"ViewPosition": "LL"}, "lateral"),
        ({"ViewPosition": "RAO"}, "oblique"),
        ({"BodyPartExamined": "HAND"}, "not-a-chest"),
        ({"PatientOrientation": ["F", "R"]}, "on-its-side"),
    ],
)
def test_what_the_header_says_is_a_warning(
    run: Run, bundle: Path, tmp_path: Path, elements: dict[str, Any], code: str
) -> None:
    written(tmp_path / "plain.dcm", DX, two_lungs())
    written(tmp_path / "told.dcm", DX, two_lungs(), **elements)
    ended = run("segment", "plain.dcm", "told.dcm", "--model", bundle, "--json")
    assert ended.code == 0, ended.err
    plain, told = (
        [w.split(":")[0] for w in entries(ended)[n]["warnings"]] for n in ("plain.dcm", "told.dcm")
    )
    assert set(told) - set(plain) == {code}
    assert f"told.dcm: {code}: the header says" in ended.err


def test_pixels_that_are_not_square_give_the_mask_of_square_ones(
    run: Run, bundle: Path, tmp_path: Path
) -> None:
    """A film squeezed to half of its width, which says so: the same lungs, on the film's own grid."""
    film = two_lungs()
    squeezed = film[:, ::2]
    spacing = 300 / film.shape[1]
    written(tmp_path / "square.dcm", DX, film, PixelSpacing=[spacing, spacing])
    written(tmp_path / "told.dcm", DX, squeezed, PixelSpacing=[spacing, 2 * spacing])
    written(tmp_path / "ratio.dcm", DX, squeezed, PixelAspectRatio=[1, 2])
    ended = run("segment", "square.dcm", "told.dcm", "ratio.dcm", "--model", bundle, "--out", "out", "--json")
    assert ended.code == 0, ended.err
    masks = {
        n: np.asarray(Image.open(tmp_path / f"out/{n}_mask.png")) > 0 for n in ("square", "told", "ratio")
    }
    assert masks["told"].shape == squeezed.shape
    assert dice(masks["told"], masks["square"][:, ::2]) > 0.95
    assert np.array_equal(masks["told"], masks["ratio"])
    found = entries(ended)
    assert found["told.dcm"]["area_mm2"] == pytest.approx(found["square.dcm"]["area_mm2"], rel=0.06)
    assert found["ratio.dcm"]["area_mm2"] is None


def test_an_impossible_spacing_gives_no_millimetres(run: Run, bundle: Path, tmp_path: Path) -> None:
    film = two_lungs()
    path = written(tmp_path / "a.dcm", DX, film, PixelSpacing=[30 / film.shape[1]] * 2)  # 30 mm wide: cm
    ended = run("segment", path.name, "--model", bundle, "--json")
    [entry] = json.loads(ended.out)["results"]
    assert entry["spacing_mm"] is entry["area_mm2"] is None
    assert "not plausible" in entry["notices"][0]
    assert pydicom.dcmread(path).PixelSpacing[0] > 0
