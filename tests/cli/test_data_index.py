"""`data index` and `data export` as a user calls them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from permissions import obey_permissions
from PIL import Image

from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.radiograph import read_mask

FILMS = os.environ.get("ADALORAQAT_FILMS")
FILM = np.tile(np.arange(299, dtype=np.uint16) * 255 // 298, (299, 1)).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def radiography(tmp_path):
    """The COVID-19 Radiography Database in miniature, with one film that is broken."""
    mask = np.zeros((256, 256), np.uint8)
    mask[64:192, 32:96] = 255
    for name in ("COVID-1", "COVID-2", "COVID-3"):
        save(tmp_path / "archive" / "COVID" / "images" / f"{name}.png", FILM)
        save(tmp_path / "archive" / "COVID" / "masks" / f"{name}.png", mask)
    (tmp_path / "archive" / "COVID" / "images" / "COVID-2.png").write_bytes(b"broken")


def test_one_broken_film_is_told_and_the_others_are_written(run, radiography, tmp_path):
    ended = run(
        "data", "index", "covid19_radiography", "archive", "--mask", "lungs", "--out", "out/films.csv"
    )
    assert ended.code == 1
    assert ended.out.strip() == "out/films.csv"
    assert "COVID-2.png is not a film in a known format" in ended.err
    assert "21,162 fewer than the 21,165 that were published" in ended.err
    assert "The class Normal is missing" in ended.err
    assert "2 films indexed (masks: lungs), 1 failed" in ended.err
    entries = read_manifest(tmp_path / "out" / "films.csv")
    assert [entry.id for entry in entries] == ["COVID-1", "COVID-3"]
    assert {(e.outlines, e.diagnosis, e.source) for e in entries} == {
        ("lungs", "COVID-19", "covid19_radiography")
    }
    assert read_mask(entries[0].path_mask, (299, 299)).any()
    assert str(tmp_path) not in (tmp_path / "out" / "films.csv").read_text()


def test_a_closed_folder_is_told_and_no_film_left_out_in_silence(process, radiography, tmp_path):
    masks = tmp_path / "archive" / "COVID" / "masks"
    masks.chmod(0)
    try:
        arguments = ("covid19_radiography", "archive", "--mask", "lungs", "--out", "out/films.csv")
        child = process("data", "index", *arguments, preexec_fn=obey_permissions)
        out, err = child.communicate(timeout=60)
        assert (child.returncode, out) == (2, ""), err
        assert "The folder masks cannot be opened (Permission denied)" in err
        assert len(err.splitlines()) == 1
        assert not (tmp_path / "out").exists()
    finally:
        masks.chmod(0o755)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("siim_acr", "archive", "--mask", "lungs"),
            "SIIM-ACR Pneumothorax has masks of pneumothorax, not lungs",
        ),
        (("qata-cov19", "archive", "--mask", "lungs"), "QaTa-COV19 has masks of infection, not lungs"),
        (("jsrt", "archive"), "archive holds no JSRT film"),
        (("jsrt", "nowhere"), "no folder nowhere"),
        (("moon", "archive"), "'moon' is not one of jsrt, "),
        (("manifest", "archive"), "archive cannot be read"),
    ],
)
def test_what_cannot_be_indexed(run, radiography, tmp_path, arguments, says):
    ended = run("data", "index", *arguments, "--out", "films.csv")
    assert ended.code == 2
    assert says in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_to_nnunet_and_back_with_the_same_split(run, tmp_path):
    assert run("data", "phantom", "--count", 8, "--out", "own", "--size", 48).code == 0
    divided = run("data", "split", "own/manifest.csv", "--out", "split.csv", "--fractions", "0.5,0.25,0.25")
    assert divided.code == 0
    ended = run("data", "export", "nnunet", "split.csv", "--out", "raw", "--name", "Dataset510_Phantoms")
    assert (ended.code, ended.out.strip()) == (0, "raw/Dataset510_Phantoms")
    description = json.loads((tmp_path / "raw/Dataset510_Phantoms/dataset.json").read_text())
    assert description["numTraining"] == sum(
        entry.split != "test" for entry in read_manifest(tmp_path / "split.csv")
    )
    back = run("data", "index", "nnunet", "raw/Dataset510_Phantoms", "--out", "back.csv", "--published-split")
    assert back.code == 0, back.err
    before = {entry.id: entry for entry in read_manifest(tmp_path / "split.csv")}
    after = {entry.id: entry for entry in read_manifest(tmp_path / "back.csv")}
    assert {name: entry.split for name, entry in after.items()} == {
        name: entry.split for name, entry in before.items()
    }
    for name, entry in after.items():
        assert (read_mask(entry.path_mask) == read_mask(before[name].path_mask)).all()
    assert run("data", "index", "nnunet", "raw/Dataset510_Phantoms", "--out", "bare.csv").code == 0
    assert {entry.split for entry in read_manifest(tmp_path / "bare.csv")} == {None}
    wrong = run("data", "export", "nnunet", "split.csv", "--out", "raw", "--name", "Phantoms")
    assert (wrong.code, "Dataset501_Lungs" in wrong.err) == (2, True)


def test_a_folder_of_dicom_films_tells_patient_and_spacing(run, tmp_path):
    assert run("data", "phantom", "--count", 2, "--out", "own", "--size", 128, "--dicom").code == 0
    assert run("data", "index", "folder", "own", "--out", "films.csv", "--mask", "lung-field").code == 0
    for entry in read_manifest(tmp_path / "films.csv"):
        assert entry.spacing_mm is not None
        assert entry.outlines == "lung-field"
        assert entry.path_labels is not None


@pytest.mark.skipif(not FILMS, reason="ADALORAQAT_FILMS does not name the folder of real films")
def test_real_films(run, tmp_path):
    ended = run("data", "index", "jsrt", Path(str(FILMS)) / "cxr" / "jsrt", "--out", "jsrt.csv")
    assert ended.code == 0, ended.err
    assert "240 films with masks were found, 7 fewer than the 247" in ended.err
    entries = read_manifest(tmp_path / "jsrt.csv")
    assert len(entries) == 240
    assert {entry.diagnosis for entry in entries} == {"lung nodule", "no nodule"}
    assert entries[0].spacing_mm == pytest.approx((0.7, 0.7))  # 0.175 mm * 2048 / 512
    shenzhen = run(
        "data", "index", "shenzhen", Path(str(FILMS)) / "cxr" / "shenzhen", "--out", "shenzhen.csv"
    )
    assert shenzhen.code == 0, shenzhen.err
    assert "554 films with masks were found, 12 fewer than the 566" in shenzhen.err
    assert {e.diagnosis for e in read_manifest(tmp_path / "shenzhen.csv")} == {"normal", "tuberculosis"}
    own = run("data", "index", "folder", Path(str(FILMS)) / "cxr" / "covid_v7", "--out", "v7.csv")
    assert own.code == 0, own.err
    assert len(read_manifest(tmp_path / "v7.csv")) == 328
    assert not list(tmp_path.glob("*_masks"))  # the masks are on their films' grids already
