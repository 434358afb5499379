"""Challenge cases: a phantom volume of 64 slices, and 1,000 boxes on one image, in turns (A B A B).

    python benchmarks/challenge.py [--model NAME|BUNDLE] [--repeats 2]

Writes benchmarks/results/challenge.json: seconds, where they go, and the peak memory of a process of its own.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from adaloraqat.bundle.cpu import cpu_name, has_vnni
from adaloraqat.challenge import write_npz
from adaloraqat.challenge.phantoms import boxes_of, draw_volume

ROOT = Path(__file__).resolve().parents[1]
SIZE, SLICES, SEED = 256, 64, 7
RUNS = [
    (case, engine, propagate)
    for case, propagate in (
        ("one-box", "box"),
        ("three-boxes", "box"),
        ("three-boxes", "mask"),
        ("1000-boxes", "box"),
    )
    for engine in ("onnxruntime", "openvino")
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lung-field-fast")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    measured: dict[tuple[str, str, str], list[dict[str, Any]]] = {run: [] for run in RUNS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_cases(folder)
        for _ in range(options.repeats):
            for run in RUNS:
                measured[run].append(measure(folder, options.model, *run))
                print(run, measured[run][-1]["seconds"], flush=True)
    result = {
        "command": "python benchmarks/challenge.py",
        "model": options.model,
        "volume": f"{SLICES} slices of {SIZE} x {SIZE}, the CT-like phantom {SEED}; 1000 boxes: one image of 1024 x 1024",
        "machine": {"cpu": cpu_name(), "vnni": has_vnni(), "system": platform.system()},
        "rows": [row(run, several) for run, several in measured.items()],
    }
    (ROOT / "benchmarks/results/challenge.json").write_text(json.dumps(result, indent=1) + "\n")


def write_cases(folder: Path) -> None:
    """One box over all slices; the three organs' own boxes; 1,000 boxes on one image of noise."""
    stack = draw_volume(SEED, SIZE, SLICES)
    boxes = boxes_of(stack.labels)
    one = boxes[:1].copy()
    one[0, 2], one[0, 5] = 0, SLICES
    right = (stack.labels == 1).astype(np.uint8)
    write_npz(folder / "one-box.npz", {"imgs": stack.pixels, "boxes": one, "gts": right})
    write_npz(folder / "three-boxes.npz", {"imgs": stack.pixels, "boxes": boxes, "gts": stack.labels})
    noise = np.random.default_rng(0).integers(0, 255, (1024, 1024), dtype=np.uint8)
    corners = [(30 * (number % 32), 30 * (number // 32)) for number in range(1000)]
    many = np.array([[x, y, x + 28, y + 28] for x, y in corners])
    write_npz(folder / "1000-boxes.npz", {"imgs": noise, "boxes": many})


def measure(folder: Path, model: str, case: str, engine: str, propagate: str) -> dict[str, Any]:
    """Segment one case in a process of its own, as a user does."""
    script = (
        "import resource, sys\n"
        "from adaloraqat.cli.main import app\n"
        "try: app()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
    )
    command = [
        sys.executable,
        "-c",
        script,
        "segment",
        str(folder / f"{case}.npz"),
        "--json",
        "--model",
        model,
    ]
    command += ["--engine", engine, "--propagate", propagate, "--out", str(folder / "out")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    [entry] = json.loads(done.stdout)["results"]
    return {
        "seconds": entry["milliseconds"] / 1000,
        "milliseconds_of": entry["milliseconds_of"],
        "encoded": entry["encoded"],
        "dice": [found["dice"] for found in entry["objects"]] if len(entry["objects"]) < 10 else None,
        "peak_mb": int(done.stderr.split()[-1]) / 1024,
    }


def row(run: tuple[str, str, str], several: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the repeats."""
    parts = {
        name: round(median(one["milliseconds_of"][name] for one in several))
        for name in several[0]["milliseconds_of"]
    }
    return {
        **dict(zip(("case", "engine", "propagate"), run, strict=True)),
        "seconds": round(median(one["seconds"] for one in several), 2),
        "encoded": several[0]["encoded"],
        "milliseconds_of": parts,
        "peak_mb": round(median(one["peak_mb"] for one in several)),
        "dice": several[0]["dice"],
    }


if __name__ == "__main__":
    main()
