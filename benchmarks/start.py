"""From typing a command to the mask: `adaloraqat segment FILM` in a fresh process, in turns, against an older commit.

    python benchmarks/start.py --film FILM [--against e35de86] [--repeats 11] [--engine onnxruntime]

The older commit runs the model that was its default, `lung-field`, from its own files, with the packages installed here.
Compiled Python files are kept for both, as after an installation; the first turn makes them and is not counted. Nothing else
may run on the machine. Writes benchmarks/results/start.json: medians and least times in milliseconds.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from statistics import median

from machine import machine

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks/results/start.json"
NOW = (ROOT / "src", ROOT / "packages/weights/src")
MODELS = ("lung-field-fast", "lung-whole-fast", "lung-field")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--film", type=Path, required=True)
    parser.add_argument("--against", default="e35de86", help="the older commit")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--engine", default="onnxruntime")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        older = Path(scratch) / "older"
        archive = subprocess.run(
            ["git", "archive", asked.against, "src"], cwd=ROOT, capture_output=True, check=True
        )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(older, filter="data")
        rows = {f"lung-field of {asked.against}": ((older / "src",), "lung-field")}
        rows |= {model: (NOW, model) for model in MODELS}
        found: dict[str, list[float]] = {name: [] for name in rows}
        for turn in range(asked.repeats + 1):
            for name, (code, model) in rows.items():
                taken = seconds(code, model, asked.engine, asked.film, Path(scratch))
                if turn:
                    found[name].append(1000 * taken)
    document = {
        "rows": {
            name: {"median_ms": round(median(times)), "least_ms": round(min(times)), "repeats": len(times)}
            for name, times in found.items()
        },
        "engine": asked.engine,
        "machine": machine(),
        "command": "python benchmarks/start.py --film FILM",
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document["rows"], indent=1))


def seconds(code: tuple[Path, ...], model: str, engine: str, film: Path, scratch: Path) -> float:
    """Return how long the command takes, from the start of its process to its end."""
    with tempfile.TemporaryDirectory(dir=scratch) as out:
        command = [sys.executable, "-m", "adaloraqat", "segment", str(film), "--model", model]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, code)),
            "PYTHONPYCACHEPREFIX": str(scratch / "compiled"),
            "PYTHONDONTWRITEBYTECODE": "",
        }
        started = time.perf_counter()
        subprocess.run(
            [*command, "--engine", engine, "--out", out], env=environment, check=True, capture_output=True
        )
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
