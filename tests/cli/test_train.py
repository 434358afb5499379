"""`adaloraqat train` as a person meets it: wrong paths, wrong recipes, wrong films, full disks, Ctrl-C."""

import csv
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from refusal import refused
from smallest import ARCHITECTURE

from adaloraqat.datasets.phantom import write_phantoms

STAGE = {
    "name": "stage1",
    "kind": "adalora",
    "r_max": 4,
    "r_target": 2,
    "prune_at": [1],
    "schedule": {"epochs": 2, "batch_size": 2, "steps_per_epoch": 1},
}
RECIPE = {"name": "small", "base": {"architecture": ARCHITECTURE}, "stages": [STAGE]}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    write_phantoms(tmp_path / "films", 8, seed=3, size=64)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path / "films"


@pytest.fixture
def train(run: Callable[..., Any], films: Path) -> Callable[..., Any]:
    def call(
        *options: object, recipe: str = "r.yaml", data: str = "films/manifest.csv", out: str = "run"
    ) -> Any:
        return run("train", recipe, "--data", data, "--out", out, *options)

    return call


def rows(films: Path) -> list[dict[str, str]]:
    with open(films / "manifest.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def rewrite(films: Path, table: list[dict[str, str]]) -> None:
    with open(films / "manifest.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, table[0])
        writer.writeheader()
        writer.writerows(table)


def a_training_film(films: Path) -> dict[str, str]:
    return next(row for row in rows(films) if row["split"] == "train")


def test_it_trains_and_says_what_comes_next(train: Callable[..., Any], tmp_path: Path) -> None:
    ended = train()
    assert ended.code == 0
    assert "stage1 epoch 2/2" in ended.err
    assert "adaloraqat export run --out run-bundle" in ended.err
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"recipe.yaml", "metrics.jsonl", "result.json", "adapter", "checkpoint.safetensors"} <= names
    assert train().code == 2  # a run is not overwritten
    again = train("--resume")
    assert again.code == 0
    assert "already finished" in again.err


def test_help_names_every_option(run: Callable[..., Any]) -> None:
    ended = run("train", "--help")
    assert ended.code == 0
    for word in ("RECIPE", "--data", "--out", "--set", "--resume", "--threads"):
        assert word in ended.out


@pytest.mark.parametrize(
    ("places", "options", "says"),
    [
        ({"recipe": "nowhere.yaml"}, (), "no recipe nowhere.yaml"),
        ({"data": "nowhere.csv"}, (), "no manifest nowhere.csv"),
        ({}, ("--set", "base={weights: nowhere.pth}"), "no base weights at nowhere.pth"),
        ({}, ("--set", "colour=blue"), "colour: no such key"),
        ({}, ("--set", "colour"), "key=value"),
        ({}, ("--set", "base.architecture=huge"), "no architecture 'huge'"),
        ({}, ("--set", "base.image_size=33"), "not a multiple of patch_size"),
        ({}, ("--set", "data.sources=[elsewhere]"), "no film from source elsewhere"),
        ({"data": "films"}, (), "films cannot be read"),
        ({"recipe": "films/manifest.csv"}, (), "manifest.csv is not a"),
    ],
)
def test_arguments_that_cannot_be(
    places: dict[str, str], options: tuple[str, ...], says: str, train: Callable[..., Any], tmp_path: Path
) -> None:
    refused(train(*options, **places), says)
    assert not (tmp_path / "run").exists()


def test_no_validation_film(train: Callable[..., Any], films: Path, tmp_path: Path) -> None:
    rewrite(films, [row | {"split": "train"} for row in rows(films)])
    refused(train(), "split train and with split val", "data split")
    assert not (tmp_path / "run").exists()


def text_as_png(path: Path) -> None:
    path.write_text("not a picture")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def nan_film(path: Path) -> None:
    pixels = np.zeros((64, 64), np.float32)
    pixels[3, 4] = np.nan
    Image.fromarray(pixels).save(path, format="TIFF")


@pytest.mark.parametrize("spoil", [text_as_png, empty, truncated, nan_film])
def test_a_film_that_cannot_be_used_is_named_and_left_out(
    spoil: Callable[[Path], None], train: Callable[..., Any], films: Path, tmp_path: Path
) -> None:
    film = Path(a_training_film(films)["path_image"])
    spoil(films / film)
    left_out_alone(train(), tmp_path / "run", film.name)


def test_a_mask_of_another_size_is_named(train: Callable[..., Any], films: Path, tmp_path: Path) -> None:
    mask = Path(a_training_film(films)["path_mask"])
    Image.fromarray(np.zeros((64, 60), np.uint8)).save(films / mask)
    left_out_alone(train(), tmp_path / "run", mask.name, "60 x 64", "64 x 64")


def left_out_alone(ended: Any, run: Path, *says: str) -> None:
    assert ended.code == 1
    (reason,) = json.loads((run / "result.json").read_text())["films"]["left_out"].values()
    for text in says:
        assert text in reason
        assert text in ended.err.splitlines()[0]


def test_a_folder_that_holds_something_else(train: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").write_text("dear")
    refused(train(), "run is not empty and holds no run; choose another --out")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["letter.txt"]
    (tmp_path / "file").write_text("x")
    refused(train(out="file"), "file is a file")


def test_resume_with_another_recipe_other_films_or_a_damaged_checkpoint(
    train: Callable[..., Any], films: Path, tmp_path: Path
) -> None:
    assert train().code == 0
    (tmp_path / "run" / "result.json").unlink()  # as if killed at the end
    refused(train("--resume", "--set", "seed=5"), "started with another recipe")
    table = rows(films)
    rewrite(films, [row for row in table if row["id"] != a_training_film(films)["id"]])
    refused(train("--resume"), "started with other films")
    rewrite(films, table)
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    whole = checkpoint.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no weights at all"):
        checkpoint.write_bytes(damaged)
        refused(train("--resume"), "checkpoint.safetensors is missing or damaged")
    checkpoint.write_bytes(whole)
    assert train("--resume").code == 0


def command(out: str, *options: str) -> list[str]:
    start = [sys.executable, "-m", "adaloraqat.cli.main", "train", "r.yaml", "--data", "films/manifest.csv"]
    return [*start, "--out", out, "--threads", "1", *options]


@contextmanager
def little_room(size: int) -> Iterator[None]:
    """A limit on the size of files, in bytes, stands in for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_and_resume(train: Callable[..., Any], tmp_path: Path) -> None:
    with little_room(100_000):  # a checkpoint needs more
        full = train()
    assert full.code == 2, full.err
    last = full.err.strip().splitlines()[-1]
    assert "checkpoint.safetensors" in last
    assert not [path for path in (tmp_path / "run").rglob("*") if ".tmp" in path.name]
    assert train("--resume").code == 0


@pytest.mark.usefixtures("films")
def test_ctrl_c_and_resume(train: Callable[..., Any], tmp_path: Path) -> None:
    long = ("--set", "stages.0.schedule.epochs=25")
    process = subprocess.Popen(
        command("run", *long),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # a background shell has its children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "--resume continues" in said.strip().splitlines()[-1]
    assert not [path for path in (tmp_path / "run").rglob("*") if ".tmp" in path.name]
    refused(train("--resume"), "another recipe")  # the changed length belongs to the run
    resumed = train("--resume", *long)
    assert resumed.code == 0
    assert "continuing stage1 after epoch" in resumed.err
    assert "epoch 25/25" in resumed.err
