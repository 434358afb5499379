"""Killed at any moment and resumed, a training ends with the numbers of one that was left alone."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from adaloraqat.training.run_folder import load_tensors

DRIVER = Path(__file__).with_name("killed_cli.py")
CHOSEN = random.Random(20261120)
SAVE = "adaloraqat.training.run_folder:save_file"
FOLDER = "adaloraqat.training.run_folder:RunFolder"
KIND = "adaloraqat.training.kinds.adalora"

Job = Callable[..., int]


def at(function: str, call: int, when: str = "after", naming: str = "") -> dict[str, Any]:
    return {"function": function, "call": call, "when": when, "naming": naming}


# The run below: prunes in epochs 1 and 2; metrics lines and checkpoints 1-5 are stage 1's, 6-8 stage 2's;
# best weights are written 3 times in each; 8 + 4 optimiser steps.
MOMENTS = {
    "between data.json and recipe.yaml": at("os:replace", 1, "before", "recipe.yaml"),
    "before the first checkpoint": at(f"{FOLDER}.save_checkpoint", 1, "before"),
    "inside a checkpoint write": at(SAVE, CHOSEN.randint(2, 5), "torn", ".checkpoint."),
    "before a checkpoint's renaming": at("os:replace", CHOSEN.randint(2, 5), "before", ".checkpoint."),
    "between the first prune and its save": at(f"{KIND}:RankAllocator.prune", 1),
    "between the last prune and the removal": at(f"{KIND}:RankAllocator.prune", 2),
    "between the removal and its save": at(f"{KIND}:remove_pruned", 1),
    "inside a best write": at(SAVE, CHOSEN.randint(1, 3), "torn", ".best."),
    "between best and checkpoint": at(f"{FOLDER}.save_best", CHOSEN.randint(1, 3)),
    "between metrics line and checkpoint": at(f"{FOLDER}.append_metrics", CHOSEN.randint(3, 5)),
    "inside a metrics line": at(f"{FOLDER}.append_metrics", CHOSEN.randint(2, 5), "torn"),
    "in a step of stage 1": at("torch.optim:AdamW.step", CHOSEN.randint(1, 8)),
    "while the adapters are written": at("os:replace", 1, "before", "adapter_config"),
    "between the stages": at("adaloraqat.training.train:enter_stage", 2),
    "after stage 2's first score, before its checkpoint": at(f"{FOLDER}.append_metrics", 6),
    "after stage 2 kept its start as best": at(f"{FOLDER}.save_best", 4),
    "inside a best write of stage 2": at(SAVE, CHOSEN.randint(4, 6), "torn", ".best."),
    "in a step of stage 2": at("torch.optim:AdamW.step", CHOSEN.randint(9, 12)),
    "before result.json": at("os:replace", 1, "before", "result.json"),
}


# What another moment, or `test_killed_twice`, comes close to.
SLOW = {
    "between best and checkpoint",
    "inside a metrics line",
    "while the adapters are written",
    "in a step of stage 2",
    "before the first checkpoint",
    "before a checkpoint's renaming",
    "between the last prune and the removal",
    "between the removal and its save",
    "inside a best write",
    "in a step of stage 1",
    "after stage 2's first score, before its checkpoint",
    "after stage 2 kept its start as best",
}


@pytest.fixture(scope="module")
def server() -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.fixture(scope="module")
def recipe(both_stages: Callable[[], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "both.yaml"
    path.write_text(yaml.safe_dump(both_stages()))
    return path


@pytest.fixture(scope="module")
def train(server: "subprocess.Popen[str]", recipe: Path, manifest: Path) -> Job:
    def run(out: Path, *options: str, kill: dict[str, Any] | None = None) -> int:
        assert server.stdin is not None
        assert server.stdout is not None
        arguments = ["train", str(recipe), "--data", str(manifest), "--out", str(out), "--threads", "1"]
        job = {"arguments": [*arguments, *options], "log": str(out.with_suffix(".log")), "kill": kill}
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        return int(json.loads(server.stdout.readline()))

    return run


@pytest.fixture(scope="module")
def uninterrupted(train: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert train(out) == 0, out.with_suffix(".log").read_text()
    return out


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "timing"} for line in lines]


def result(run: Path) -> dict[str, Any]:
    document = json.loads((run / "result.json").read_text())
    assert set(document.pop("timing")) == {"seconds", "stages"}
    return document


def assert_same(run: Path, reference: Path) -> None:
    assert result(run) == result(reference)
    assert metrics(run) == metrics(reference)
    places = [(line["stage"], line["epoch"]) for line in metrics(run)]
    assert len(set(places)) == len(places)
    names = ["stages/stage1", "stages/stage2", "checkpoint", "best"]
    for name in (f"{name}.safetensors" for name in names):
        tensors, wanted = load_tensors(run / name)[0], load_tensors(reference / name)[0]
        assert set(tensors) == set(wanted), name
        assert [key for key in wanted if not torch.equal(tensors[key], wanted[key])] == [], name
    for path in (reference / "adapter").iterdir():
        assert (run / "adapter" / path.name).read_bytes() == path.read_bytes()
    files = {path.relative_to(run) for path in run.rglob("*")}
    assert files == {path.relative_to(reference) for path in reference.rglob("*")}


def test_the_moments_are_those_they_claim_to_be(uninterrupted: Path) -> None:
    document = result(uninterrupted)
    assert [len([m for m in metrics(uninterrupted) if m["stage"] == s]) for s in ("stage1", "stage2")] == [
        5,
        3,
    ]
    assert [stage["steps"] for stage in document["stages"]] == [8, 4]
    assert [stage["best_epoch"] for stage in document["stages"]] == [4, 2]
    assert document["stages"][0]["budgets"] == [9, 6]
    assert sum(document["stages"][0]["ranks"].values()) == 6


@pytest.mark.parametrize(
    "moment", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in MOMENTS]
)
def test_resumed_equals_uninterrupted(moment: str, train: Job, uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(out, kill=MOMENTS[moment]) == -signal.SIGKILL, out.with_suffix(".log").read_text()
    assert not (out / "result.json").exists()
    assert train(out, "--resume") == 0, out.with_suffix(".log").read_text()
    assert_same(out, uninterrupted)


def test_killed_twice(train: Job, uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(out, kill=MOMENTS["between the removal and its save"]) == -signal.SIGKILL
    again = at(f"{FOLDER}.save_best", 5)
    assert train(out, "--resume", kill=again) == -signal.SIGKILL
    assert train(out, "--resume") == 0
    assert_same(out, uninterrupted)


def test_a_finished_run_stays_as_it_is(train: Job, uninterrupted: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}
    assert train(uninterrupted, "--resume") == 0
    assert "already finished" in uninterrupted.with_suffix(".log").read_text()
    assert before == {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}


def test_kill_9_from_outside(
    recipe: Path, manifest: Path, train: Job, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "adaloraqat.cli.main", "train", str(recipe), "--data", str(manifest)]
    command += ["--out", str(out), "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    lines = out / "metrics.jsonl"
    while process.poll() is None and (not lines.exists() or lines.read_text().count("\n") < 3):
        time.sleep(0.02)
    process.kill()
    process.wait(timeout=60)
    assert train(out, "--resume") == 0, out.with_suffix(".log").read_text()
    assert_same(out, uninterrupted)
