"""Base weights alone become a bundle that takes its box from the small shipped model."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adaloraqat import Segmenter
from adaloraqat.cli.main import app
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.models.checkpoints import save_base
from adaloraqat.models.families import build
from adaloraqat.models.registry import architecture
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.run import load_published


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LiteMedSAM with random weights, as a folder that tells its preprocessing."""
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    own = Preprocessing(64, 1, mean=(0.0,), std=(1.0,), grey_range="min-max")
    save_base(build(architecture("lite_medsam_tiny").to_dict()), folder, preprocessing=own)
    return folder


def test_a_folder_tells_its_preprocessing_and_an_older_one_nothing(weights: Path, tmp_path: Path) -> None:
    assert load_published(str(weights))[1].preprocessing_at().grey_range == "min-max"
    save_base(build(architecture("lite_medsam_tiny").to_dict()), tmp_path / "old")
    _, structure = load_published(str(tmp_path / "old"))
    assert structure.preprocessing is None
    assert structure.preprocessing_at() == Preprocessing(64, 1, mean=(0.0,), std=(1.0,))


def test_export_of_a_base_gives_a_bundle_that_proposes_boxes(weights: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(weights), "--out", str(tmp_path / "bundle")])
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert document["prompt"]["automatic"] == "proposed-box"
    assert document["preprocessing"]["grey_range"] == "min-max"
    assert document["precision"]["policy"] == "fp32"
    assert document["training"]["weights"] == "tiny"
    [film] = write_phantoms(tmp_path / "films", 1, seed=4)
    result = Segmenter.load(tmp_path / "bundle").segment(film.path_image)
    assert result.box_source == "proposed"
    assert result.proposer == "lung-whole-fast"
    whole = Segmenter.load(tmp_path / "bundle").segment(film.path_image, prompt="whole")
    assert whole.box_source == "whole film"


@pytest.mark.slow  # two exports
def test_validation_films_choose_the_prompt_and_integers_need_films(weights: Path, tmp_path: Path) -> None:
    write_phantoms(tmp_path / "films", 4, seed=5, size=128)
    manifest = str(tmp_path / "films" / "manifest.csv")
    arguments = ["export", str(weights), "--out", str(tmp_path / "bundle"), "--data", manifest]
    done = CliRunner().invoke(app, [*arguments, "--precision", "int8"])
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    scores = document["metrics"]["validation"]
    better = max(("proposed-box", "proposed-lungs"), key=lambda prompt: scores[f"dice_{prompt}"])
    assert scores[f"dice_{document['prompt']['automatic']}"] == scores[f"dice_{better}"]
    assert document["training"]["post_training_quantisation"] is True
    assert "onnxruntime" in document["parity"]["no_box"]
    refused = CliRunner().invoke(
        app, ["export", str(weights), "--out", str(tmp_path / "no"), "--precision", "int8"]
    )
    assert refused.exit_code == 2
    assert not (tmp_path / "no").exists()


def test_what_is_for_others_is_refused(weights: Path, tmp_path: Path) -> None:
    for more in (["--stage", "stage1"], ["--alpha", "16"], ["--to", "huggingface"]):
        done = CliRunner().invoke(app, ["export", str(weights), "--out", str(tmp_path / "out"), *more])
        assert done.exit_code == 2, more
        assert not (tmp_path / "out").exists()


def test_a_bundle_is_exported_in_another_precision_and_keeps_what_it_says(
    weights: Path, tmp_path: Path
) -> None:
    """The bundle stands in for the weights it holds: the same integers and ranges come out of both."""
    write_phantoms(tmp_path / "films", 4, seed=5)
    manifest = str(tmp_path / "films" / "manifest.csv")

    def export(source: Path, out: Path, *options: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["export", str(source), "--out", str(out), *options])
        assert done.exit_code == 0, done.output
        document: dict[str, Any] = json.loads((out / "bundle.json").read_text())
        return document

    integers = ("--precision", "w8a8", "--data", manifest, "--name", "small")
    before = export(weights, tmp_path / "float")
    document = export(tmp_path / "float", tmp_path / "from-bundle", *integers)
    export(weights, tmp_path / "from-weights", *integers)
    assert document["precision"]["policy"] == "w8a8"
    assert document["precision"]["weight_range"] == "portable"
    assert document["training"]["exported_from"] == before["name"]
    assert document["training"]["precision_before"] == "fp32"
    for key in ("outlines", "licence", "intended_use", "preprocessing"):
        assert document[key] == before[key], key
    assert document["prompt"]["automatic"] == before["prompt"]["automatic"] == "proposed-box"
    assert document["parity"]
    [film] = write_phantoms(tmp_path / "one", 1, seed=6)
    box = (10, 10, 200, 200)
    one, other = (
        Segmenter.load(tmp_path / name).segment(film.path_image, box)
        for name in ("from-bundle", "from-weights")
    )
    assert (one.mask == other.mask).mean() > 0.999


def test_what_can_be_trained_on_as_it_is_needs_no_float_copy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = ["export", "lung-open", "--to", "huggingface", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "lung-open can be trained on as it is: give it as base.weights" in caplog.text
    assert not (tmp_path / "out").exists()
