"""A bundle's weights, trained further: the model answers as the bundle; what cannot be had is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adaloraqat import Segmenter
from adaloraqat.errors import BundleError, CheckpointError
from adaloraqat.models.checkpoints import load_base
from adaloraqat.models.from_bundle import state_of_bundle
from adaloraqat.models.sam import decode, encode
from adaloraqat.training.run import load_published, names_run


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


def test_integer_bundles_and_damaged_graphs_are_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="lung-field-fast computes in INT8: train on from the run"):
        load_base("lung-field-fast")
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
