"""The readers against thousands of damaged files: each is read rightly or refused in one sentence.

Every file starts as a valid one. Most keep their first bytes, so that at least half get past the header into
the decoders; checksums of PNG chunks are mended after two mutations of three, else zlib would see none of it.
"""

import json
import queue
import random
import re
import struct
import subprocess
import sys
import threading
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fuzz_seeds import FILM, JSRT_SIDE, Seed, dicom, picture, seeds
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

from adaloraqat.radiograph import read_film

WORKER = Path(__file__).with_name("fuzz_worker.py")
SECONDS = 20  # for one file; a bad one takes milliseconds, the computer may be busy
SEEDS = seeds()
MARKERS = {
    ".png": b"IDAT",
    ".jpg": b"\xff\xda",
    ".dcm": b"\xe0\x7f\x10\x00",
    ".npz": b"NUMPY",
    ".bmp": b"BM",
}
EXTREMES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0")
NOT_DECODED = re.compile(
    r"known format|not a readable (picture|DICOM)|no DICOM image|holds no array|is empty"
)


def body(seed: Seed) -> int:
    """Where the part behind the header begins."""
    if seed.suffix == ".img":
        return 0
    if seed.suffix == ".tif":
        return 8
    if seed.suffix == ".bmp":
        return 54
    marker = MARKERS[seed.suffix]
    found = seed.content.find(marker if seed.kind != "dicom-big-endian" else b"\x7f\xe0\x00\x10")
    return found + 8 if found > 0 else len(seed.content) // 3


def mutated(seed: Seed, draw: random.Random) -> bytes:
    """Return a damaged copy: bytes changed, cut, repeated, left out, or numbers made extreme."""
    content = bytearray(seed.content)
    start = body(seed) if draw.random() < 0.7 else min(draw.randrange(140), len(content) // 2)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        place = draw.randrange(start, max(start + 1, len(content)))
        match draw.randrange(7):
            case 0:
                content[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                content[place : place + 1] = (
                    bytes([content[place] ^ 1 << draw.randrange(8)]) if place < len(content) else b""
                )
            case 2:
                content[place : place + 4] = draw.choice(
                    (
                        b"\xff\xff\xff\xff",
                        b"\0\0\0\0",
                        b"\x7f\xff\xff\xff",
                        b"\xff\xff\xff\x7f",
                        b"\x80\0\0\0",
                    )
                )
            case 3:
                del content[place : place + draw.randrange(1, 40)]
            case 4:
                content[place:place] = content[place : place + draw.randrange(1, 40)]
            case 5:
                content[place:place] = draw.randbytes(draw.randrange(1, 40))
            case 6 if draw.random() < 0.3:
                del content[place:]
    if seed.suffix == ".png" and draw.random() < 0.66:
        content = mended(content)
    return bytes(content)


def mended(content: bytearray) -> bytearray:
    """Give the chunks of a PNG right checksums."""
    place = 8
    while place + 12 <= len(content):
        size = int.from_bytes(content[place : place + 4])
        if place + 12 + size > len(content):
            break
        right = zlib.crc32(content[place + 4 : place + 8 + size])
        content[place + 8 + size : place + 12 + size] = right.to_bytes(4)
        place += 12 + size
    return content


class Worker:
    """The process that reads; started anew after a crash or a hang."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, args=(self.process, self.lines), daemon=True).start()

    @staticmethod
    def _listen(process: "subprocess.Popen[str]", lines: "queue.Queue[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    def read(self, path: Path, first: bool = False) -> dict:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(str(path)) + "\n")
            self.process.stdin.flush()
            line = self.lines.get(timeout=SECONDS * (6 if first else 1))
        except (queue.Empty, BrokenPipeError):
            line = "hang"
        if line and line != "hang":
            return json.loads(line)
        self.close(kill=True)
        code = self.process.returncode
        self._start()
        return {"defect": "hang" if line == "hang" else f"crash {code}"}

    def close(self, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        self.process.communicate()


def wrong(answer: dict, shapes: set[tuple[int, ...]]) -> str | None:
    """Return what is wrong with an answer, None if it is a right film or one sentence."""
    if "defect" in answer:
        return str(answer["defect"])
    if "refused" in answer:
        sentence = answer["refused"]
        return None if sentence.endswith(".") and "\n" not in sentence and "/" not in sentence else sentence
    if not (answer["finite"] and answer["inside"]):
        return "pixels outside [0, 1]"
    return None if tuple(answer["shape"]) in shapes else f"shape {answer['shape']}, declared {sorted(shapes)}"


def declared(content: bytes, suffix: str) -> set[tuple[int, ...]]:
    """Return the sizes that a damaged file itself declares, read by other means than the readers'."""
    if suffix == ".png":
        width, height = struct.unpack(">II", content[16:24])
    elif suffix == ".bmp":
        width, height = struct.unpack("<ii", content[18:26])
    elif suffix == ".img":
        width = height = JSRT_SIDE
    else:
        return set()
    return {(abs(height), abs(width)), (abs(width), abs(height))}


def attack(count: int, seed: int, folder: Path) -> tuple[Counter, list[str], int]:
    draw, worker = random.Random(seed), Worker()
    outcomes: Counter = Counter()
    failures, peak = [], 0
    for number in range(count):
        origin = SEEDS[number % len(SEEDS)]
        content = mutated(origin, draw)
        path = folder / f"film{origin.suffix}"
        path.write_bytes(content)
        answer = worker.read(path, first=number == 0)
        shapes = declared(content, origin.suffix)
        if "shape" in answer:
            shapes = shapes or {tuple(answer["shape"])}
        problem = wrong(answer, shapes)
        if problem:
            kept = folder / f"failure-{number}-{origin.kind}{origin.suffix}"
            kept.write_bytes(content)
            failures.append(f"{kept}: {problem}")
        outcome = "read" if "shape" in answer else "header" if NOT_DECODED.search(str(answer)) else "decoder"
        outcomes[outcome] += 1
        peak = max(peak, answer.get("peak_mb", 0))
    worker.close()
    return outcomes, failures, peak


@pytest.mark.parametrize("count", [330, pytest.param(5500, marks=pytest.mark.slow)])
def test_damaged_files_are_read_rightly_or_refused(count: int, tmp_path: Path) -> None:
    outcomes, failures, peak = attack(count, count, tmp_path)
    print(dict(outcomes), f"peak {peak} MB")
    assert failures == []
    assert sum(outcomes.values()) == count
    assert outcomes["read"] + outcomes["decoder"] >= count / 2, outcomes  # past the header
    assert outcomes["decoder"] >= count / 10
    assert peak < 1500


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.kind)
def test_the_seeds_are_valid(seed: Seed, tmp_path: Path) -> None:
    path = tmp_path / f"film{seed.suffix}"
    path.write_bytes(seed.content)
    film = read_film(path)
    assert film.shape == seed.film.shape
    assert np.corrcoef(film.pixels.ravel(), seed.film.ravel())[0, 1] > 0.98  # JPEG at its default quality


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.kind)
def test_half_a_film_is_never_a_film(seed: Seed, tmp_path: Path) -> None:
    """Cut at any place from a tenth to nine tenths: refused, or (with only a trailer lost) the same film."""
    worker, path = Worker(), tmp_path / f"film{seed.suffix}"
    for tenth in range(1, 10):
        path.write_bytes(seed.content[: len(seed.content) * tenth // 10])
        answer = worker.read(path, first=tenth == 1)
        assert "refused" in answer, (seed.kind, tenth, answer)
    worker.close()


def bombs() -> dict[str, tuple[str, bytes]]:
    """Small files that claim 60000 x 60000 pixels."""
    grey = Image.fromarray(FILM)
    png = bytearray(picture(grey, "PNG"))
    png[16:24] = struct.pack(">II", 60000, 60000)
    bmp = bytearray(picture(grey, "BMP"))
    bmp[18:26] = struct.pack("<ii", 60000, 60000)
    tiff = picture(grey, "TIFF", tiffinfo={256: 60000, 257: 60000})
    tags = tiff.replace(struct.pack("<HHII", 256, 4, 1, 48), struct.pack("<HHII", 256, 4, 1, 60000))
    jpeg = bytearray(picture(grey, "JPEG"))
    frame = jpeg.find(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 60000, 60000)
    return {
        "png": (".png", bytes(mended(png))),
        "bmp": (".bmp", bytes(bmp)),
        "tiff": (".tif", tags),
        "jpeg": (".jpg", bytes(jpeg)),
        "dicom": (".dcm", dicom(FILM, ExplicitVRLittleEndian, Rows=60000, Columns=60000)),
    }


@pytest.mark.parametrize("kind", bombs())
def test_a_claimed_size_takes_no_memory(kind: str, tmp_path: Path) -> None:
    suffix, content = bombs()[kind]
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(content)
    worker = Worker()
    answer = worker.read(path, first=True)
    worker.close()
    assert "refused" in answer, answer
    assert answer["peak_mb"] < 400
