"""`segment --dicom`: which files, what is refused, and with what words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image
from tiny_bundle import two_lungs

from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.datasets.phantom.write import write_dicom
from adaloraqat.radiograph import find_films, read_mask

Run = Callable[..., Any]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    write_dicom(tmp_path / "film.dcm", two_lungs().astype(np.float32) / 255, "f", "patient-7", (2.0, 2.0))
    return tmp_path / "film.dcm"


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.usefixtures("film")
def test_three_objects_beside_the_mask(run: Run, bundle: Path, tmp_path: Path) -> None:
    ended = run("segment", "film.dcm", "--model", bundle, "--dicom", "seg,sr,pr", "--json", "--out", "out")
    assert ended.code == 0
    [entry] = json.loads(ended.out)["results"]
    assert entry["dicom"] == {kind: f"out/film_{kind}.dcm" for kind in ("seg", "sr", "pr")}
    mask = read_mask(tmp_path / entry["mask"])
    read = highdicom.seg.segread(tmp_path / "out/film_seg.dcm")
    np.testing.assert_array_equal(read.pixel_array.astype(bool).reshape(-1, *mask.shape).any(axis=0), mask)
    for path in entry["dicom"].values():
        assert pydicom.dcmread(tmp_path / path).PatientID == "patient-7"
    text = run("segment", "film.dcm", "--model", bundle, "--dicom", "PR, seg", "--out", "two").out
    assert text.splitlines() == ["two/film_mask.png", "two/film_seg.dcm", "two/film_pr.dcm"]
    assert written(tmp_path / "two") == {"film_mask.png", "film_seg.dcm", "film_pr.dcm"}


@pytest.mark.usefixtures("film")
def test_a_film_that_is_no_dicom_is_refused(run: Run, bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(two_lungs()).save(tmp_path / "picture.png")
    ended = run("segment", "film.dcm", "picture.png", "--model", bundle, "--dicom", "sr", "--out", "out")
    assert ended.code == 1
    assert ended.err.splitlines()[0] == (
        "picture.png is not a DICOM file, so DICOM results would have no patient and no study: "
        "give the film as DICOM (.dcm, .dic, .dicom, .ima), or leave out --dicom."
    )
    assert written(tmp_path / "out") == {"film_mask.png", "film_sr.dcm"}
    assert run("segment", "picture.png", "--model", bundle, "--dicom", "sr", "--out", "none").code == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--dicom", "seg,rt"), "--dicom does not know 'rt': give one or more of seg,sr,pr."),
        (("--dicom", " , "), "--dicom names nothing: give one or more of seg,sr,pr."),
        (("--deidentify",), "--deidentify is for DICOM results: say which with --dicom seg,sr,pr."),
    ],
)
@pytest.mark.usefixtures("film")
def test_options_that_make_no_sense(
    run: Run, bundle: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    ended = run("segment", "film.dcm", "--model", bundle, *arguments)
    assert ended.code == 2
    assert sentence in ended.err
    assert not (tmp_path / "adaloraqat-masks").exists()


@pytest.mark.usefixtures("film")
def test_deidentified(run: Run, bundle: Path, tmp_path: Path) -> None:
    ended = run("segment", "film.dcm", "--model", bundle, "--dicom", "pr", "--deidentify", "--out", "out")
    assert ended.code == 0
    assert written(tmp_path / "out") == {"film_mask.png", "film_pr.dcm", "film_deidentified.dcm"}
    copy, state = (pydicom.dcmread(tmp_path / f"out/film_{end}.dcm") for end in ("deidentified", "pr"))
    assert copy.PatientID == state.PatientID != "patient-7"
    image = state.ReferencedSeriesSequence[0].ReferencedImageSequence[0]
    assert image.ReferencedSOPInstanceUID == copy.SOPInstanceUID


def test_a_header_that_allows_no_results_costs_the_objects_alone(
    run: Run, bundle: Path, tmp_path: Path, film: Path
) -> None:
    dataset = pydicom.dcmread(film)
    dataset.SOPClassUID = "1.2.3.4"  # nobody knows what such an object holds
    dataset.save_as(film)
    ended = run("segment", "film.dcm", "--model", bundle, "--dicom", "sr", "--out", "out", "--overlay")
    assert ended.code == 1
    assert ended.err.startswith(
        "The mask was written, but not the DICOM results: The header of film.dcm does not allow DICOM results"
    )
    assert ended.err.count("\n") == 1
    assert written(tmp_path / "out") == {"film_mask.png", "film_overlay.png"}


@pytest.mark.usefixtures("film")
def test_a_result_never_overwrites_a_film(run: Run, bundle: Path, tmp_path: Path, film: Path) -> None:
    film.with_name("film_seg.dcm").write_bytes(film.read_bytes())
    before = film.with_name("film_seg.dcm").read_bytes()
    ended = run("segment", ".", "--model", bundle, "--dicom", "seg", "--out", ".")
    assert ended.code == 2
    assert "would overwrite the input film_seg.dcm" in ended.err
    assert film.with_name("film_seg.dcm").read_bytes() == before


def test_a_second_run_takes_no_result_for_a_film(run: Run, bundle: Path, tmp_path: Path) -> None:
    write_phantoms(tmp_path / "study", 2, seed=1, size=64, dicom=True)
    folder = "study/images"
    for _ in range(2):
        ended = run(
            "segment", folder, "--model", bundle, "--dicom", "seg,sr,pr", "--deidentify", "--out", folder
        )
        assert ended.code == 0, ended.err
        assert len(find_films(tmp_path / folder)) == 2
    assert len(list((tmp_path / folder).iterdir())) == 2 * 6


@pytest.mark.usefixtures("film")
def test_in_a_batch_that_can_be_resumed(run: Run, bundle: Path, tmp_path: Path) -> None:
    call = ("segment", "film.dcm", "--model", bundle, "--dicom", "seg,sr", "--out", "out", "--workers", "1")
    ended = run(*call, "--json")
    assert ended.code == 0
    [entry] = json.loads(ended.out)["results"]
    assert entry["dicom"] == {"seg": "out/film_seg.dcm", "sr": "out/film_sr.dcm"}
    first = pydicom.dcmread(tmp_path / "out/film_seg.dcm").SOPInstanceUID
    run(*call, "--resume")
    assert pydicom.dcmread(tmp_path / "out/film_seg.dcm").SOPInstanceUID == first  # done is done
    (tmp_path / "out/film_sr.dcm").unlink()
    (tmp_path / "out/film_sr.dcm").mkdir()
    assert run(*call, "--resume").code == 1  # the mask is there
    assert '"failure":"output"' in (tmp_path / "out/results.jsonl").read_text()
    (tmp_path / "out/film_sr.dcm").rmdir()
    assert run(*call, "--resume").code == 0
    assert (tmp_path / "out/film_sr.dcm").exists()  # a lost object is made again


@pytest.mark.usefixtures("film")
@pytest.mark.parametrize("options", [("--workers", "1"), ("--resume",)])
def test_a_key_that_is_not_kept_allows_no_resuming(run: Run, bundle: Path, options: tuple[str, ...]) -> None:
    ended = run("segment", "film.dcm", "--model", bundle, "--dicom", "seg", "--deidentify", *options)
    assert ended.code == 2
    assert "--deidentify uses a key that is never kept" in ended.err
