"""`export` and `info` of a published checkpoint, as a person calls them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refusal import refused

from adaloraqat.datasets.phantom import write_phantoms

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))  # test folders are no packages
from adalora_qat_reference import Reference

Run = Callable[..., Any]


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    return Reference(stage=2).save(tmp_path).name


def test_export_reads_the_authors_file_and_segment_runs_the_bundle(
    run: Run, checkpoint: str, tmp_path: Path
) -> None:
    film = write_phantoms(tmp_path / "films", 1, seed=4, size=64)[0]
    ended = run("export", checkpoint, "--out", "bundle", "--precision", "reference-weights")
    assert ended.code == 0
    assert "alpha / target_rank = 32 / 32 = 1 (published" in ended.err
    assert "times smaller than the file" in ended.err
    assert "Next: adaloraqat segment FILM --model bundle" in ended.err
    ended = run("segment", film.path_image, "--model", "bundle", "--box", 8, 8, 56, 56, "--json")
    assert ended.code == 0
    assert "lungs" in json.loads(ended.out)["outlines"]


@pytest.mark.slow  # a second export of the file of the test above
def test_films_of_no_split_calibrate_and_measure(run: Run, checkpoint: str, tmp_path: Path) -> None:
    films = write_phantoms(tmp_path / "films", 2, seed=4, size=64)
    rows = [f"{film.path_image},{film.path_mask}" for film in films]
    (tmp_path / "films.csv").write_text("path_image,path_mask\n" + "\n".join(rows) + "\n")
    ended = run(
        "export", checkpoint, "--out", "bundle", "--data", "films.csv", "--alpha", "8", "--target-rank", "4"
    )
    assert ended.code == 0
    assert "8 / 4 = 2 (given)" in ended.err
    assert "calibrated on 1 of 1 films" in ended.err
    document = json.loads((tmp_path / "bundle/bundle.json").read_text())
    assert document["precision"]["policy"] == "reference"
    assert document["parity"]["true_box"]["films"] == 1


def test_info_says_what_the_file_holds_and_what_not(run: Run, checkpoint: str) -> None:
    told = json.loads(run("info", checkpoint, "--json").out)
    assert told["stage"] == 2
    assert "no integers" in told["stored_as"]
    assert told["rounded_by_its_code"] == 53
    assert told["training"]["stage1_dice"] == 0.949
    assert told["scaling"]["value"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("missing.pth",), "no checkpoint at missing.pth"),
        (("other.pth",), "not a PyTorch checkpoint"),
        (("best_model_stage2_int8.pth",), "--data"),
        (("best_model_stage2_int8.pth", "--alpha", "32"), "both"),
        (("best_model_stage2_int8.pth", "--stage", "stage2"), "leave them out"),
        (("films", "--alpha", "32"), "leave them out"),
    ],
)
def test_export_refuses_with_one_sentence(
    run: Run, checkpoint: str, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "other.pth").write_text("no weights")
    (tmp_path / "films").mkdir()
    quiet = () if says == "--data" else ("--precision", "fp32")
    refused(run("export", *arguments, "--out", "b", *quiet), says)
    assert not (tmp_path / "b").exists()


def test_a_contradictory_file_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    import torch

    document: dict[str, Any] = Reference(stage=2).checkpoint()
    state = {name: tensor.clone() for name, tensor in document["model_state_dict"].items()}
    state["adalora_modules.0.P_q"] += 1
    torch.save(document | {"model_state_dict": state}, tmp_path / "bad.pth")
    refused(run("export", "bad.pth", "--out", "b", "--precision", "fp32"), "contradicts itself")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.pth"]
    refused(run("info", "bad.pth"), "contradicts itself")
