"""The container and the systemd unit: what they say runs, as it stands there, outside of them."""

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from served import PATIENCE

ROOT = Path(__file__).parents[2]
PORT = "8000"


def directives(dockerfile: str) -> list[tuple[str, str]]:
    """Return the directives of a Dockerfile, comments left out and lines joined."""
    lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


@pytest.fixture
def commands() -> dict[str, str]:
    """The last of each directive, which is the one that counts."""
    return dict(directives((ROOT / "Dockerfile").read_text()))


def started(command: list[str], environment: dict[str, str]) -> "tuple[subprocess.Popen[str], str]":
    """Start a command that serves, on a free port and as nobody's home; return it and its port."""
    assert command[-2:] == ["--port", PORT]
    process = subprocess.Popen(
        [shutil.which(command[0], path=str(Path(sys.executable).parent)) or command[0], *command[1:-1], "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": "/nonexistent", **environment},
    )
    assert process.stdout is not None
    found = re.search(r":(\d+) ", process.stdout.readline())
    assert found
    return process, found[1]


def ended(process: "subprocess.Popen[str]") -> int:
    process.send_signal(signal.SIGTERM)
    code = process.wait(PATIENCE)
    assert process.stdout is not None
    process.stdout.close()
    return code


def test_the_container(commands: dict[str, str]) -> None:
    assert commands["FROM"] == "python:3.12-slim"
    assert commands["USER"] == "10001"
    environment = dict(pair.split("=") for pair in commands["ENV"].split())
    check = json.loads(commands["HEALTHCHECK"].partition("CMD ")[2])
    process, port = started(json.loads(commands["CMD"]), {**environment, "ADALORAQAT_TOKEN": "t" * 32})
    try:
        here = [sys.executable, *(part.replace(f":{PORT}/", f":{port}/") for part in check[1:])]
        assert subprocess.run(here, timeout=PATIENCE).returncode == 0
    finally:
        assert ended(process) == 0
    assert subprocess.run(here, capture_output=True, timeout=PATIENCE).returncode == 1


def test_the_container_without_a_token(commands: dict[str, str]) -> None:
    command = [sys.executable, "-m", *json.loads(commands["CMD"])]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (refused.returncode, "a token is needed" in refused.stderr) == (2, True)


def test_the_unit() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read(ROOT / "packaging/adaloraqat.service")
    service = unit["Service"]
    environment = dict([service["Environment"].split("=")])
    command = shlex.split(service["ExecStart"])
    assert command[0] == "/opt/adaloraqat/bin/adaloraqat"
    process, _ = started(["adaloraqat", *command[1:]], environment)
    assert ended(process) == 0
    assert service["KillMode"] == "mixed"
    assert service["ProtectSystem"] == "strict"
    assert service["NoNewPrivileges"] == "yes"
    assert service["LimitCORE"] == "0"


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    text = (ROOT / "packaging/adaloraqat.service").read_text()
    unit = tmp_path / "adaloraqat.service"
    unit.write_text(text.replace("/opt/adaloraqat/bin/adaloraqat", shutil.which("true") or "/bin/true"))
    judged = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert "Unknown" not in judged.stderr, judged.stderr
