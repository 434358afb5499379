"""A small real bundle, films, and the command line run as a user runs it."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adaloraqat.cli.main import app

# the handmade bundle and weights, and what refusals look like; test folders are no packages
sys.path[:0] = [
    *(str(Path(__file__).parents[1] / room) for room in ("bundle", "models")),
    str(Path(__file__).parent),
]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_bundle import write_tiny_bundle

    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_tiny_bundle(folder, weights=1)
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in this process, in the test's folder; anything but an exit code is a defect."""
    monkeypatch.chdir(tmp_path)

    def call(*args: object) -> Ended:
        result = CliRunner().invoke(app, list(map(str, args)), catch_exceptions=False)
        assert "Traceback" not in result.stderr
        assert str(tmp_path) not in result.stdout + result.stderr
        return Ended(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture(scope="module")
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten phantoms in `films`, the test file's RECIPE as `r.yaml`, and the run it gives in `run`."""
    import torch
    import yaml

    from adaloraqat.datasets.phantom import write_phantoms
    from adaloraqat.training import parse_recipe
    from adaloraqat.training.train import train

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained")
    write_phantoms(folder / "films", 10, seed=4, size=64)
    (folder / "r.yaml").write_text(yaml.safe_dump(request.module.RECIPE))
    train(parse_recipe(request.module.RECIPE), folder / "films/manifest.csv", folder / "run")
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path) -> Path:
    """A fresh copy of films, recipe and run in the folder that the command line works in."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def obey_ctrl_c() -> None:
    """Undo what a background shell passes on to its children: to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Start the command line as a process of its own, in the test's folder."""

    def start(*args: object, **settings: Any) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "adaloraqat.cli.main", *map(str, args)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
        return subprocess.Popen(command, **{"preexec_fn": obey_ctrl_c, **pipes, **settings})

    return start
