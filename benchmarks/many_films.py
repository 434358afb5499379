"""A folder of many films: what a second worker is worth, and whether memory stays flat.

    python benchmarks/many_films.py speed [--films 24] [--rounds 3]
    python benchmarks/many_films.py memory [--films 20000]

`speed` segments JPEG 2000 films of 2,000 px with the fast model by two workers of one thread and by one worker of two
threads, in turns, and compares the films a second of the median rounds, the start of the processes included. `memory`
segments many small films by two workers and samples the memory of all processes together (proportional set size, so
that shared pages count once). Films are phantoms; of `memory` there are 50, and links to them. Writes
benchmarks/results/many_films.json.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pydicom
from machine import machine
from pydicom.uid import JPEG2000Lossless

from adaloraqat.datasets.phantom import write_phantoms

RESULT = Path(__file__).parent / "results/many_films.json"
MODEL = "lung-field-fast"
SIDE, SMALL_SIDE, SMALL_FILMS = 2000, 128, 50
WARM = 0.1  # of the films: until then caches fill
WAYS = {"two workers of one thread": (2, 1), "one worker of two threads": (1, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "memory"))
    parser.add_argument("--films", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.what == "speed":
            found = speed(Path(folder), asked.films or 24, asked.rounds)
        else:
            found = memory(Path(folder), asked.films or 20_000)
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    kept[asked.what] = {**found, "machine": machine()}
    RESULT.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def speed(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """Return the films a second of both ways, and their ratio."""
    films = folder / "films"
    write_phantoms(films, count, seed=7, size=SIDE, dicom=True)
    for path in sorted((films / "images").glob("*.dcm")):
        dataset = pydicom.dcmread(path)
        dataset.compress(JPEG2000Lossless)
        dataset.save_as(path)
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way, (workers, threads) in WAYS.items():
            started = time.perf_counter()
            command = segment(films / "images", folder / f"{way}-{number}", workers, threads)
            subprocess.run(command, check=True)
            took[way].append(time.perf_counter() - started)
    rates = {way: count / statistics.median(seconds) for way, seconds in took.items()}
    two, one = rates.values()
    return {
        "films": count,
        "side_px": SIDE,
        "model": MODEL,
        "films_a_second": {way: round(rate, 3) for way, rate in rates.items()},
        "seconds": {way: [round(s, 2) for s in seconds] for way, seconds in took.items()},
        "ratio": round(two / one, 3),
    }


def memory(folder: Path, count: int) -> dict[str, Any]:
    """Return the memory of all processes at tenths of the films, and how far it grew after the first."""
    write_phantoms(folder / "drawn", SMALL_FILMS, seed=7, size=SMALL_SIDE)
    drawn = sorted((folder / "drawn/images").iterdir())
    films, out = folder / "films", folder / "out"
    films.mkdir()
    for number in range(count):
        os.link(drawn[number % SMALL_FILMS], films / f"{number:06d}.png")
    process = psutil.Popen(segment(films, out, 2, 1))
    samples: list[tuple[int, float]] = []
    while process.poll() is None:
        time.sleep(2)
        with contextlib.suppress(psutil.Error, FileNotFoundError):
            everyone = [process, *process.children(recursive=True)]
            bytes_ = sum(one.memory_full_info().pss for one in everyone)
            samples.append((_lines(out / "results.jsonl"), bytes_ / 2**20))
    if process.returncode:
        sys.exit(f"segment ended with {process.returncode}")
    parts = [[mb for done, mb in samples if part <= done / count * 10 < part + 1] for part in range(10)]
    means = [round(statistics.mean(part), 1) if part else None for part in parts]
    warm = [mb for done, mb in samples if WARM <= done / count < 1]
    return {
        "films": count,
        "side_px": SMALL_SIDE,
        "model": MODEL,
        "results": _lines(out / "results.jsonl"),
        "mib_by_tenth_of_the_films": means,
        "mib_greatest_after_the_first_tenth": round(max(warm), 1),
        "mib_least_after_the_first_tenth": round(min(warm), 1),
    }


def segment(films: Path, out: Path, workers: int, threads: int) -> list[str]:
    """Return the command; --workers 1 works as several do, with one process more."""
    command = [
        sys.executable,
        "-m",
        "adaloraqat",
        "segment",
        str(films),
        "--model",
        MODEL,
        "-q",
        "-o",
        str(out),
    ]
    return [*command, "--workers", str(workers), "--threads", str(threads)]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


if __name__ == "__main__":
    main()
