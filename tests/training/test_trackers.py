"""What a tracker is told is what the run folder says; it changes no number, and is asked for in time."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerate.tracking import GeneralTracker
from PIL import Image

from adaloraqat.errors import OutputError, RecipeError
from adaloraqat.training import parse_recipe
from adaloraqat.training.run_folder import load_tensors
from adaloraqat.training.trackers import Trackers
from adaloraqat.training.train import train

Make = Callable[[], dict[str, Any]]


class Stopped(Exception):
    pass


def test_the_event_file_says_what_the_run_folder_says(
    both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe, run = parse_recipe(both_stages()), tmp_path / "run"

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("stage1", 6):
            raise Stopped

    with pytest.raises(Stopped):  # in the middle of epoch 3, whose steps are then taken again
        train(recipe, manifest, run, report=lambda line: None, on_step=stop, log=["tensorboard"])
    train(recipe, manifest, run, report=lambda line: None, resume=True, log=["tensorboard"])
    train(recipe, manifest, tmp_path / "plain", report=lambda line: None)
    tensors, wanted = (load_tensors(f / "checkpoint.safetensors")[0] for f in (run, tmp_path / "plain"))
    assert all(bool((tensors[name] == value).all()) for name, value in wanted.items())

    events = EventAccumulator(str(run / "logs" / "small"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    before = {"stage1": 0, "stage2": 8}
    for stage, steps in (("stage1", 8), ("stage2", 4)):
        own = [line for line in lines if line["stage"] == stage]
        counted = [before[stage] + line["step"] for line in own]
        for score in ("dice_no_box", "dice_box", "worst_no_box"):
            points = events.Scalars(f"{stage}/validation/{score}")
            assert [point.step for point in points] == counted
            assert [p.value for p in points] == pytest.approx([line["validation"][score] for line in own])
        terms = {name for line in own[1:] for name in line["loss"]}
        assert terms == {"dice", "total"} | {"bce"} | ({"orthogonality"} if stage == "stage1" else set())
        for term in terms:
            points = events.Scalars(f"{stage}/loss/{term}")
            assert [p.step for p in points] == list(range(before[stage] + 1, before[stage] + steps + 1))
            means = np.array([p.value for p in points]).reshape(-1, 2).mean(1)  # two steps an epoch
            assert means == pytest.approx([line["loss"][term] for line in own[1:]], rel=1e-5)
        pictures = events.Images(f"{stage}/validation")
        assert [picture.step for picture in pictures] == counted
    for name, rank in lines[4]["ranks"].items():
        assert events.Scalars(f"stage1/ranks/{name}")[-1].value == rank
    assert events.Scalars("stage1/rate/singular_values")[0].value == pytest.approx(1e-2)
    (tmp_path / "first.png").write_bytes(events.Images("stage1/validation")[0].encoded_image_string)
    drawn = np.asarray(Image.open(tmp_path / "first.png"))
    assert ((drawn == (0, 255, 0)).all(-1)).any()  # the true mask's contour


# ---- trackers that the development environment does not hold (versions: docs/devices.md) ----------

Points = dict[str, dict[int, float]]
"""What a tracker wrote: values by name and step."""


def _wandb(folder: Path) -> Points:
    from wandb.proto.wandb_internal_pb2 import Record

    (log,) = folder.glob("wandb/offline-run-*/*.wandb")
    found: Points = {}
    for content in _leveldb_records(log.read_bytes()):
        history = Record.FromString(content).history
        for item in history.item:
            value = json.loads(item.value_json)
            found.setdefault(item.key or ".".join(item.nested_key), {})[history.step.num] = value
    pictures = found["stage1/validation.filenames"][0]
    assert len(pictures) == 2
    assert all((log.parent / "files" / name).is_file() for name in pictures)
    return found


def _leveldb_records(content: bytes) -> Iterator[bytes]:
    """Give the records of a wandb file: LevelDB's log format after 7 bytes, in blocks of 32 KB."""
    place, parts = 7, b""
    while place + 7 <= len(content):
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        if kind == 0 or 32768 - place % 32768 < 7:  # the rest of a block is filled up
            place += 32768 - place % 32768
            continue
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a record in one piece, or its last piece
            yield parts
            parts = b""


def _mlflow(folder: Path) -> Points:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("adaloraqat").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params["seed"]) == ("run", "FINISHED", "2")
    return {
        name: {point.step: point.value for point in client.get_metric_history(run.info.run_id, name)}
        for name in run.data.metrics
    }


def _trackio(folder: Path) -> Points:
    import sqlite3

    found: Points = {}
    with closing(sqlite3.connect(folder / "trackio" / "adaloraqat.db")) as store:
        assert b'"seed":2' in store.execute("SELECT config FROM configs").fetchone()[0]
        for name, step, document in store.execute("SELECT run_name, step, metrics FROM metrics"):
            assert name == "run"
            for key, value in json.loads(document).items():
                found.setdefault(key, {})[step] = value
    return found


@pytest.mark.filterwarnings("ignore")  # the trackers' own
@pytest.mark.parametrize(("tracker", "read"), [("wandb", _wandb), ("mlflow", _mlflow), ("trackio", _trackio)])
def test_what_a_tracker_wrote_is_what_the_run_folder_says(
    tracker: str, read: Callable[[Path], Points], both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    """In a process of its own, as people train: a tracker stays in the one that started it."""
    if not _installed(tracker):
        pytest.skip(f"{tracker} is not installed")
    document = both_stages()
    for stage in document["stages"]:
        stage["schedule"]["epochs"] = 2
    document["stages"][0]["prune_at"] = [1]
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(document))
    places = {
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(tmp_path),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
    }
    command = ["train", "small.yaml", "--data", manifest, "--out", "run", "--log", tracker]
    ended = subprocess.run(
        [sys.executable, "-m", "adaloraqat", *map(str, command)],
        cwd=tmp_path,
        env={**os.environ, **places},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]

    found = read(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    for stage, before in (("stage1", 0), ("stage2", 4)):  # two epochs of two steps each
        own = [line for line in lines if line["stage"] == stage]
        for score in ("dice_no_box", "dice_box", "worst_no_box"):
            wanted = {before + line["step"]: line["validation"][score] for line in own}
            assert found[f"{stage}/validation/{score}"] == pytest.approx(wanted)
        for term in own[1]["loss"]:
            values = found[f"{stage}/loss/{term}"]
            assert list(values) == [before + step for step in (1, 2, 3, 4)]
            means = np.array(list(values.values())).reshape(-1, 2).mean(1)
            assert means == pytest.approx([line["loss"][term] for line in own[1:]], rel=1e-5)
        assert set(found[f"{stage}/rate/decoder"].values()) == {2e-3 if stage == "stage1" else 4e-4}
    for name, rank in lines[1]["ranks"].items():
        assert found[f"stage1/ranks/{name}"] == {2: rank, 4: lines[2]["ranks"][name]}


# ---- trackers that fail --------------------------------------------------------------------------------


class Failing(GeneralTracker):
    """A tracker whose server goes away in the middle of a training."""

    name = "failing"
    requires_logging_directory = False

    def __init__(self) -> None:
        super().__init__()
        self.told = 0

    @property
    def tracker(self) -> None:
        return None

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        pass

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self.told += 1
        if self.told > 3:
            raise ConnectionError("the server is gone.\nIts trace.")


def test_a_tracker_that_fails_is_left_behind(
    both_stages: Make,
    manifest: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    failing = Failing()
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "mlflow", lambda *args, **kwargs: failing)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    document = both_stages()
    document["stages"] = document["stages"][:1]
    result = train(parse_recipe(document), manifest, tmp_path / "run", log=["mlflow", "tensorboard"])
    assert failing.told == 4
    (warning,) = [record.message for record in caplog.records if "failing" in record.message]
    assert warning.startswith("failing failed (the server is gone): training continues without it")
    assert result["stages"][0]["steps"] == 8
    assert list((tmp_path / "run/logs").rglob("events.out.tfevents*"))  # the other one was told to the end


def test_a_tracker_that_cannot_begin_says_why(both_stages: Make, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where TensorBoard wants a folder")
    trackers = Trackers(["tensorboard"])
    with pytest.raises(
        OutputError, match=r"tensorboard cannot be started here \(.*logs.*\): make sure that the run"
    ):
        trackers.start(parse_recipe(both_stages()), tmp_path, 0, torch.device("cpu"))


def test_a_tracker_that_is_not_installed_is_refused_before_anything_begins(
    both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    absent = next((name for name in ("trackio", "mlflow", "wandb") if not _installed(name)), None)
    if absent is None:
        pytest.skip("every tracker is installed here")
    with pytest.raises(
        RecipeError, match=f"needs {absent}, which is not installed: run pip install {absent}"
    ):
        train(parse_recipe(both_stages()), manifest, tmp_path / "run", log=[absent])
    assert not (tmp_path / "run").exists()
    with pytest.raises(RecipeError, match="There is no tracker paper; choose one of tensorboard"):
        Trackers(["paper"])


def _installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None
