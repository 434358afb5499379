"""A bundle's weights, trained further: the model answers as the bundle; what cannot be had is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adaloraqat import Segmenter
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.errors import BundleError, CheckpointError
from adaloraqat.models.checkpoints import load_base
from adaloraqat.models.from_bundle import state_of_bundle
from adaloraqat.models.sam import decode, encode
from adaloraqat.radiograph import read_film
from adaloraqat.training import parse_recipe
from adaloraqat.training.run import knows_points, load_published, names_run


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load("lung-open", threads=1)


def test_the_model_answers_as_the_bundle_does(segmenter: Segmenter) -> None:
    model, structure = load_published("lung-open")
    preprocessing = segmenter.bundle.preprocessing
    assert structure.preprocessing_at() == preprocessing
    side = preprocessing.image_size
    image = np.random.default_rng(0).random((preprocessing.channels, side, side)).astype(np.float32)
    embedding = segmenter.engine.encode(image)
    boxes = np.array([[3.0, 5.0, side - 9.0, side - 2.0]], np.float32)
    logits, quality = segmenter.engine.decode(embedding, boxes)
    with torch.no_grad():
        ours = encode(model, torch.from_numpy(image)[None])
        own_logits, own_quality = decode(model, ours, torch.from_numpy(boxes)[None])
    assert np.abs(ours.numpy() - embedding).max() < 1e-5
    assert np.abs(own_logits.numpy().ravel() - np.asarray(logits).ravel()).max() < 1e-3
    assert np.abs(own_quality.numpy().ravel() - np.asarray(quality).ravel()).max() < 1e-5


def test_a_folder_is_the_same_as_a_name_and_no_run_of_that_name_shadows_it(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, given = load_base("lung-open"), load_base(segmenter.bundle.folder)
    assert all(torch.equal(one, given.state_dict()[name]) for name, one in named.state_dict().items())
    (tmp_path / "lung-open").mkdir()
    (tmp_path / "lung-open" / "recipe.yaml").write_text("name: x\n")
    monkeypatch.chdir(tmp_path)
    assert not names_run("lung-open")
    assert names_run("./lung-open")


def test_a_bundle_of_integers_comes_back_but_for_the_rounding_of_activations(tmp_path: Path) -> None:
    integers = Segmenter.load("lung-field-fast", threads=1)
    model, _ = load_published("lung-field-fast")
    [film] = write_phantoms(tmp_path, 1, seed=3)
    image, frame = integers.bundle.preprocessing(read_film(film.path_image).pixels)
    height, width = frame.resized
    boxes = np.array([[0.0, 0.0, width, height]], np.float32)
    logits, _ = integers.engine.decode(integers.engine.encode(image), boxes)
    with torch.no_grad():
        own, _ = decode(model, encode(model, torch.from_numpy(image)[None]), torch.from_numpy(boxes)[None])
    assert np.mean((own.numpy().ravel() > 0) == (np.asarray(logits).ravel() > 0)) > 0.98
    assert 0.1 < np.mean(np.asarray(logits) > 0) < 0.6


@pytest.mark.parametrize(
    ("weights", "known"), [("lung-field", True), ("lung-field-fast", False), ("base", False)]
)
def test_what_begins_at_a_bundle_knows_points_if_that_does(weights: str, known: bool) -> None:
    stage = {"name": "decoder", "kind": "full", "train": "decoder"}
    recipe = parse_recipe({"name": "more", "base": {"weights": weights}, "stages": [stage]})
    assert knows_points(recipe) is known


def test_damaged_graphs_are_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"do not hold vision_encoder\.nothing: train on from"):
        state_of_bundle(segmenter.bundle, {"vision_encoder.nothing": torch.zeros(1)})
    copy = tmp_path / "copy"
    shutil.copytree(segmenter.bundle.folder, copy)
    decoder = copy / "decoder.onnx"
    decoder.write_bytes(decoder.read_bytes()[:-5000])
    with pytest.raises(BundleError, match="damaged"):
        load_base(copy)
    damaged = replace(segmenter.bundle, folder=copy)
    with pytest.raises(CheckpointError, match=r"decoder\.onnx of lung-open is damaged"):
        state_of_bundle(damaged, {})
