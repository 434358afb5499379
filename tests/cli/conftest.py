"""A small real bundle, films, and the command line run as a user runs it."""

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

sys.path.insert(
    0, str(Path(__file__).parents[1] / "bundle")
)  # the handmade bundle; test folders are no packages


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
