"""The real server, as a process of its own; for the tests and the benchmarks."""

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from adaloraqat.datasets.phantom import write_phantoms

PATIENCE = 120.0  # seconds: other programs may have the processors
FAST = "lung-field-fast"


class Served:
    """`adaloraqat serve` with some options, on a free port of the loopback; a context manager."""

    def __init__(self, *options: object, environment: dict[str, str] | None = None) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `stop`
        command = [sys.executable, "-m", "adaloraqat", "serve", "--port", "0", *map(str, options)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **(environment or {})},
            preexec_fn=_obey_signals,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()  # empty where it ended
        found = re.search(r"http://\S+:(\d+)", line)
        if found is None:
            self.process.wait()
            self._close()
            raise AssertionError(f"it did not start: {self.log()}")
        self.url = found[0]
        self.port = int(found[1])
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE)

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def post(self, path: str, content: bytes, accept: str | None = None, **more: Any) -> httpx.Response:
        """Post a film as it is."""
        headers = more.pop("headers", {}) | ({} if accept is None else {"Accept": accept})
        return self.client.post(path, content=content, headers=headers, **more)

    def log(self) -> str:
        """Return what it said on stderr so far."""
        if not self._log.closed:
            self._log.seek(0)
            self._said = self._log.read()
        return self._said

    def metric(self, name: str) -> float:
        """Return a measure without labels."""
        found = re.search(rf"^{name} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        assert found, name
        return float(found[1])

    def workers(self) -> list[int]:
        """Return its worker processes."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        pids = [int(pid) for file in children for pid in file.read_text().split()]
        return [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def memory(self) -> int:
        """Return the bytes of server and workers that are in memory."""
        pids = [self.process.pid, *self.workers()]
        fields = [Path(f"/proc/{pid}/statm").read_text().split() for pid in pids]
        return sum(int(field[1]) for field in fields) * os.sysconf("SC_PAGE_SIZE")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal; return its exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._close()
        return code

    def _close(self) -> None:
        self.log()
        self._log.close()
        assert self.process.stdout is not None
        self.process.stdout.close()


def _obey_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background shell passes on to ignore it


def phantom(size: int = 512) -> bytes:
    """Return a phantom film of this package, as PNG."""
    with tempfile.TemporaryDirectory() as folder:
        write_phantoms(folder, 1, seed=4, size=size)
        return next(Path(folder, "images").iterdir()).read_bytes()


def noise(side: int, seed: int = 0) -> bytes:
    """Return a film of noise: as large a file as a film of this size can be."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def blank(side: int) -> bytes:
    """Return a large film in a small file."""
    stream = io.BytesIO()
    Image.new("L", (side, side), 90).save(stream, "PNG")
    return stream.getvalue()


def until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
