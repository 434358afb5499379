"""`export`, `evaluate` and `info` as a person meets them, on one small run of both stages."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refusal import refused
from smallest import ARCHITECTURE
from typer.testing import CliRunner

from adaloraqat.cli.main import app
from adaloraqat.measure.overlap import dice
from adaloraqat.models.families import build
from adaloraqat.models.sam import count_parameters
from adaloraqat.radiograph import read_mask

RECIPE = {
    "name": "small",
    "base": {"architecture": ARCHITECTURE},
    "stages": [
        {
            "name": "stage1",
            "kind": "adalora",
            "r_max": 4,
            "r_target": 2,
            "prune_at": [1],
            "schedule": {"epochs": 2, "batch_size": 2, "steps_per_epoch": 2},
            "learning_rates": {"singular_values": 1e-2, "adapters": 1e-3, "decoder": 1e-3},
        },
        {
            "name": "stage2",
            "kind": "quantize",
            "calibration_films": 4,
            "schedule": {"epochs": 1, "batch_size": 2, "steps_per_epoch": 1},
        },
    ],
}


ALL = ("--data", "films/manifest.csv", "--split", "all")


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `export run` makes of the run in `trained`; not to be changed."""
    out = tmp_path_factory.mktemp("exported") / "bundle"
    with pytest.MonkeyPatch.context() as context:
        context.chdir(trained)
        ended = CliRunner().invoke(app, ["export", "run", "--out", str(out)], catch_exceptions=False)
    assert ended.exit_code == 0, ended.stderr
    return out


@pytest.fixture
def bundled(exported: Path, here: Path) -> Path:
    """`here`, with that bundle as `bundle`."""
    shutil.copytree(exported, here / "bundle")
    return here


def test_export_writes_a_bundle_with_measured_parity_that_info_describes(
    exported: Path, bundled: Path, run: Any
) -> None:
    here = bundled
    document = json.loads((here / "bundle/bundle.json").read_text())
    assert document["parity"]["measured"] is True
    assert document["training"]["post_training_quantisation"] is False
    assert document["parity"]["layers"]["onnxruntime"]["worst_lsb"] <= 1
    assert str(exported.parent) not in json.dumps(document)
    described = json.loads(run("info", "bundle", "--json").out)
    assert described["files"]["encoder.onnx"] == (here / "bundle/encoder.onnx").stat().st_size
    counts = described["parameters"]
    assert sum(counts["per_precision"].values()) + counts["not_exported"] == counts["total"]
    assert set(counts["trainable"]) == {"stage1", "stage2"}
    plain = json.loads(run("info", "bundle", "--json").out)["architecture"]
    assert counts["adapters_folded"] > 0
    assert counts["total"] == count_parameters(build(plain))["total"]
    products = described["matrix_products"]["onnxruntime"]["encoder"]
    assert products["integer"] > 0
    assert sum(described["ranks"].values()) == sum(
        json.loads(run("info", "run", "--json").out)["ranks"].values()
    )


def test_export_to_openvino_writes_ir_that_openvino_itself_reads(here: Path, run: Any) -> None:
    import openvino

    assert run("export", "run", "--out", "bundle", "--to", "openvino").code == 0
    assert "openvino" in json.loads((here / "bundle/bundle.json").read_text())["parity"]["no_box"]
    encoder = openvino.Core().read_model(here / "bundle/openvino/encoder.xml")
    assert encoder.input().names == {"image"}
    assert encoder.output().names == {"embedding"}
    assert str(here) not in (here / "bundle/openvino/encoder.xml").read_text()
    ended = run(
        "evaluate",
        "bundle",
        "--engine",
        "openvino",
        "--data",
        "films/manifest.csv",
        "--split",
        "all",
        "--out",
        "e",
    )
    assert ended.code == 0


def test_another_precision_says_that_it_is_post_training_quantisation(here: Path, run: Any) -> None:
    ended = run("export", "run", "--out", "paper", "--precision", "paper")
    assert ended.code == 0
    assert "post-training quantisation" in ended.err
    assert json.loads((here / "paper/bundle.json").read_text())["training"]["post_training_quantisation"]


def test_without_films_parity_is_said_not_to_be_measured(here: Path, run: Any) -> None:
    shutil.rmtree(here / "films")
    ended = run("export", "run", "--out", "bundle")
    assert ended.code == 0
    assert "not measured" in ended.err
    assert json.loads((here / "bundle/bundle.json").read_text())["parity"] == {"measured": False}
    refused(run("export", "run", "--out", "paper", "--precision", "paper"), "--data")


def test_a_float_stage_becomes_a_base_that_transformers_reads(here: Path, run: Any) -> None:
    from transformers import SamModel

    ended = run("export", "run", "--out", "base", "--to", "huggingface")
    assert ended.code == 0
    assert "transformers reads it by `SamModel.from_pretrained`." in ended.err
    assert "SamModel.from_pretrained('base')" in (here / "base/README.md").read_text()
    assert SamModel.from_pretrained(here / "base").config.vision_config.image_size == 32
    before = (here / "base/model.safetensors").read_bytes()
    refused(run("export", "run", "--out", "base", "--to", "huggingface"), "not empty")
    assert (here / "base/model.safetensors").read_bytes() == before


def test_a_bundle_of_an_earlier_stage_tells_what_was_trained_until_then(here: Path, run: Any) -> None:
    early = ("--out", "early", "--stage", "stage1", "--precision", "fp32", "--licence", "CC BY 4.0")
    assert run("export", "run", *early).code == 0
    assert json.loads((here / "early/bundle.json").read_text())["licence"] == "CC BY 4.0"
    assert set(json.loads((here / "early/bundle.json").read_text())["parameters"]["trainable"]) == {"stage1"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere", "--out", "b"), "nowhere"),
        (("films", "--out", "b"), "holds no run"),
        (("run", "--out", "b", "--stage", "stage9"), "stage9"),
        (("run", "--out", "films"), "not overwritten"),
        (("run", "--out", "b", "--data", "nothing.csv"), "nothing.csv"),
    ],
)
def test_export_refuses_with_one_sentence(
    here: Path, run: Any, arguments: tuple[str, ...], says: str
) -> None:
    refused(run("export", *arguments), says)
    assert not (here / "b").exists()


def test_damaged_weights_of_a_run_are_named(here: Path, run: Any) -> None:
    (here / "run/stages/stage2.safetensors").write_bytes(b"no weights")
    refused(run("export", "run", "--out", "b"), "stage2.safetensors")


def test_evaluate_scores_the_saved_masks_of_runs_and_bundles_side_by_side(bundled: Path, run: Any) -> None:
    here = bundled
    ended = run(
        "evaluate", "run", "bundle", "--data", "films/manifest.csv", "--split", "all", "--out", "e", "--json"
    )
    assert ended.code == 0
    summary = json.loads(ended.out)
    assert set(summary["models"]) == {"run-stage1", "run-stage2", "bundle"}
    assert summary["comparisons"]["reference"] == "run-stage1"
    assert {row["model"] for row in summary["comparisons"]["rows"]} == {"run-stage2", "bundle"}
    with open(here / "films/manifest.csv", newline="") as stream:
        truths = {row["id"]: here / "films" / row["path_mask"] for row in csv.DictReader(stream)}
    by_hand = [
        dice(read_mask(here / f"e/masks/bundle/no_box/{name}_mask.png"), read_mask(path))
        for name, path in truths.items()
    ]
    (source,) = summary["models"]["bundle"]
    assert summary["models"]["bundle"][source]["no_box"]["dice_mean"] == pytest.approx(np.mean(by_hand))
    assert summary["models"]["bundle"][source]["true_box"]["films"] == len(truths)


def test_a_film_that_cannot_be_read_scores_zero_is_counted_and_named(bundled: Path, run: Any) -> None:
    here = bundled
    with open(here / "films/manifest.csv", newline="") as stream:
        broken, odd, *_ = list(csv.DictReader(stream))
    (here / "films" / broken["path_image"]).write_text("no picture")
    Image.new("L", (20, 20)).save(here / "films" / odd["path_mask"])
    ended = run(
        "evaluate", "bundle", "--data", "films/manifest.csv", "--split", "all", "--out", "e", "--json"
    )
    assert ended.code == 1
    (numbers,) = json.loads(ended.out)["models"]["bundle"].values()
    assert numbers["no_box"]["failed"] == 2
    assert numbers["no_box"]["films"] == 10
    assert numbers["no_box"]["dice_worst"] == 0
    with open(here / "e/films.csv", newline="") as stream:
        failed = {row["id"] for row in csv.DictReader(stream) if row["error"]}
    assert failed == {broken["id"], odd["id"]}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere", "--data", "films/manifest.csv", "--out", "e"), "nowhere"),
        (("run", "--data", "nothing.csv", "--out", "e"), "nothing.csv"),
        (("run", "--data", "films/manifest.csv", "--split", "all", "--reference", "no", "--out", "e"), "no"),
        (("run", "--data", "films/manifest.csv", "--split", "all", "--margin", "0", "--out", "e"), "margin"),
        (("run", *ALL, "--tolerance", "nan", "--out", "e"), "tolerance"),
        (("run", *ALL, "--tolerance", "-1", "--out", "e"), "tolerance"),
        (("run", *ALL, "--out", "films/manifest.csv"), "is a file"),
    ],
)
def test_evaluate_refuses_with_one_sentence(
    here: Path, run: Any, arguments: tuple[str, ...], says: str
) -> None:
    refused(run("evaluate", *arguments), says)


def test_export_auto_says_what_it_kept_in_float_and_proves_it(here: Path, run: Any) -> None:
    asked = ("--precision", "auto", "--max-drop", "0.5", "--data", "films/manifest.csv")
    assert run("export", "run", "--out", "auto", *asked).code == 0
    document = json.loads((here / "auto/bundle.json").read_text())
    measured = document["metrics"]["auto"]
    assert document["precision"]["policy"] == "auto"
    assert measured["max_drop"] == 0.5
    assert measured["dice_float"] - measured["dice"] <= 0.5
    assert {"group", "drop", "dice", "modules", "parameters"} == set(measured["groups"][0])
    assert set(measured["kept_float"]) <= {group["group"] for group in measured["groups"]}
    asked = ("--precision", "auto", "--max-drop", "-1", "--data", "films/manifest.csv")
    refused(run("export", "run", "--out", "other", *asked), "0 or more")
    assert not (here / "other").exists()
