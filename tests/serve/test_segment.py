"""What comes back for a film is what the shell gives."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_films import write_film
from PIL import Image
from served import FAST, Served
from typer.testing import CliRunner

from adaloraqat import Segmenter
from adaloraqat.cli.main import app

OVERLAY = "image/vnd.adaloraqat.overlay+png"


def shell(folder: Path, content: bytes, *options: object) -> dict[str, Any]:
    """Return what `segment --json` prints for a film; its files lie in `folder`/out."""
    film = folder / "film.png"
    film.write_bytes(content)
    arguments = ["segment", film, "--json", "--overlay", "--out", folder / "out", *options]
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    return json.loads(result.stdout)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def without(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return a document whose result has no names of files and no times."""
    entry = {key: value for key, value in document["results"][0].items() if key not in keys}
    return {**document, "results": [entry]}


@pytest.mark.parametrize("box", [None, (40.0, 30.0, 470.0, 480.5)])
def test_the_same_as_in_the_shell(
    server: Served, bundle: Path, film: bytes, tmp_path: Path, box: tuple[float, ...] | None
) -> None:
    told = shell(tmp_path, film, "--model", bundle, *(("--box", *box) if box else ()))
    query = {"box": ",".join(map(str, box))} if box else {}
    found = server.post("/segment", film, params=query)
    assert found.headers["Content-Type"] == "application/json"
    changing = ("path", "mask", "overlay", "milliseconds")
    assert without(found.json(), *changing) == without(told, *changing)
    mask = server.post("/segment", film, "image/png", params=query)
    assert mask.headers["Content-Type"] == "image/png"
    assert mask.content == (tmp_path / "out/film_mask.png").read_bytes()
    overlay = server.post("/segment", film, OVERLAY, params=query)
    assert overlay.content == (tmp_path / "out/film_overlay.png").read_bytes()
    beside = json.loads(mask.headers["Adaloraqat-Result"])
    assert beside["area_px"] == found.json()["results"][0]["area_px"]


def test_a_form_gives_the_film_its_name(server: Served, film: bytes) -> None:
    form = {"files": {"film": ("dir/einé film.png", film)}, "data": {"box": "0,0,100,100"}}
    entry = server.client.post("/segment", **form).json()["results"][0]
    assert entry["path"] == "dir/einé film.png"
    assert entry["box_source"] == "given"
    damaged = {"film": ("../../chest.png", film[:5000])}
    refused = server.client.post("/segment", files=damaged)
    assert refused.status_code == 422
    assert refused.headers["Content-Type"] == "application/problem+json"
    sentence = "chest.png is damaged or truncated: export or copy the film again."
    assert refused.json() == {"title": "Unprocessable Entity", "status": 422, "detail": sentence}


def test_a_dicom_segmentation(server: Served, tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.dcm")
    found = server.post("/segment", path.read_bytes(), "application/dicom")
    assert found.headers["Content-Type"] == "application/dicom"
    written = pydicom.dcmread(io.BytesIO(found.content))
    source = pydicom.dcmread(path)
    assert written.Modality == "SEG"
    assert written.StudyInstanceUID == source.StudyInstanceUID


def test_no_segmentation_of_what_is_no_dicom(server: Served, film: bytes) -> None:
    refused = server.post("/segment", film, "application/dicom")
    assert refused.status_code == 422
    assert "not a DICOM file" in refused.json()["detail"]


def test_each_box_on_its_own(server: Served, bundle: Path, film: bytes) -> None:
    boxes = [(0, 0, 512, 512), (100, 100, 300, 400)]
    query = {"box": [",".join(map(str, box)) for box in boxes]}
    entry = server.post("/segment_boxes", film, params=query).json()["results"][0]
    expected = list(Segmenter.load(bundle).segment_boxes(film, boxes))
    assert [one["area_px"] for one in entry["objects"]] == [int(mask.sum()) for mask, _ in expected]
    assert [one["label"] for one in entry["objects"]] == [1, 2]
    labels = pixels(server.post("/segment_boxes", film, "image/png", params=query).content)
    assert np.array_equal(labels == 2, expected[1][0])
    assert np.array_equal(labels > 0, expected[0][0] | expected[1][0])


def test_the_shipped_model(film: bytes, tmp_path: Path) -> None:
    """Of two models, one named by its name and one by its path; both answer as they do in the shell."""
    told = shell(tmp_path, film, "--model", FAST)
    with Served("--model", FAST, "--workers", 1) as server:
        found = server.post("/segment", film, "application/json;q=0.5, image/png")
        assert found.content == (tmp_path / "out/film_mask.png").read_bytes()
        assert json.loads(found.headers["Adaloraqat-Result"])["quality"] == told["results"][0]["quality"]
        models = server.client.get("/models").json()["models"]
        assert [(model["name"], model["default"]) for model in models] == [(FAST, True)]
        assert "Not a medical device" in models[0]["intended_use"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"model": "lung-whole"}, "choose one of tiny"),
        ({"box": "1,2,3"}, "four numbers"),
        ({"box": "0,0,nan,9"}, "finite"),
        ({"box": "9,9,1,1"}, "box"),
        ({"box": ["0,0,9,9", "0,0,8,8"]}, "segment_boxes"),
        ({"prompt": "guess"}, "auto, whole"),
        ({"bax": "0,0,9,9"}, "unknown field"),
        ({"model": ["tiny", "tiny"]}, "once"),
    ],
)
def test_what_is_asked_wrongly(server: Served, film: bytes, query: dict[str, Any], sentence: str) -> None:
    refused = server.post("/segment", film, params=query)
    assert refused.status_code in (400, 422)
    assert sentence in refused.json()["detail"]


def test_boxes_are_needed_and_counted(server: Served, film: bytes) -> None:
    for boxes in ([], ["0,0,9,9"] * 257):
        refused = server.post("/segment_boxes", film, params={"box": boxes})
        assert (refused.status_code, "1 to 256" in refused.json()["detail"]) == (400, True)


@pytest.mark.parametrize("form", [{"data": {"film": "text"}}, {"files": {"a": b"x", "b": b"y"}}])
def test_forms_without_one_film(server: Served, form: dict[str, Any]) -> None:
    refused = server.client.post("/segment", **form)
    assert refused.status_code in (400, 422)
    assert "film" in refused.json()["detail"]
