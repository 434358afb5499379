"""What a training step costs: this loop against that of an older commit, in turns, in one run.

    python benchmarks/training.py [--against e35de86] [--batch 4] [--steps 4] [--threads 2]

LiteMedSAM on phantom films, one process a row; each takes a step when it is its turn. The pictures come again
(augmentation 0), so that after the first pass this loop takes the output of the frozen layers from its table; the older
loop computes it each time. "In pairs" is accumulation (`accumulate` of a recipe's schedule): the same step, of which only
two films' part is in memory at a time. Rows of 224 px and of bfloat16 change numbers: their Dice is in docs/results.md. A CPU that
does not compute in bfloat16 leaves that row out. Peak memory is that of the whole process. Writes
benchmarks/results/training.json.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "training.json"
ADALORA: dict[str, Any] = {
    "kind": "adalora", "r_max": 24, "r_target": 12, "prune_at": [900], "prune_unit": "step",
    "learning_rates": {"adapters": 2e-3, "singular_values": 2e-2, "decoder": 3e-4},
}  # fmt: skip
DECODER: dict[str, Any] = {"kind": "full", "train": "decoder", "learning_rates": {"decoder": 3e-4}}
ROWS: dict[str, tuple[bool, dict[str, Any], int, dict[str, Any]]] = {
    "adalora, older loop": (True, ADALORA, 256, {}),
    "adalora": (False, ADALORA, 256, {}),
    "adalora, in pairs": (False, ADALORA, 256, {"accumulate": 2}),
    "adalora, 224 px": (False, ADALORA, 224, {}),
    "adalora, 224 px, in pairs": (False, ADALORA, 224, {"accumulate": 2}),
    "adalora, 224 px, bfloat16": (False, ADALORA, 224, {"precision": "bfloat16"}),
    "decoder, older loop": (True, DECODER, 256, {}),
    "decoder": (False, DECODER, 256, {}),
    "decoder, 224 px": (False, DECODER, 224, {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", default="e35de86", help="commit of the older loop")
    parser.add_argument("--batch", type=int, default=4, help="films a step; even")
    parser.add_argument("--steps", type=int, default=4, help="measured steps a row")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(*map(Path, given.child), given.threads)
        return
    from machine import machine  # a child runs on the older code, which may lack what this imports

    with tempfile.TemporaryDirectory() as scratch:
        rows = measure(Path(scratch), given)
    document = {
        "rows": rows,
        "ratios": ratios(rows),
        "batch": given.batch,
        "against": given.against,
        "machine": machine(),
        "command": "python benchmarks/training.py",
    }
    RESULT.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document["ratios"], indent=2))


def measure(scratch: Path, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return seconds a step and peak memory of each row; the rows take their steps in turns."""
    from adaloraqat.bundle.cpu import has_bfloat16
    from adaloraqat.datasets.phantom import write_phantoms
    from adaloraqat.models.published import resolve

    films = 2 * given.batch
    write_phantoms(scratch / "films", 20 * films // 10, seed=0, size=256)
    manifest = divided(scratch / "films", films)
    archive = subprocess.run(
        ["git", "archive", given.against, "src"], cwd=ROOT, capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as older:
        older.extractall(scratch / "older", filter="data")
    warm = 2  # the first pass: every film is seen once
    children = {}
    rows = {
        name: row for name, row in ROWS.items() if "precision" not in row[3] or has_bfloat16() is not False
    }
    for number, (name, (old, stage, size, special)) in enumerate(rows.items()):
        schedule = {
            "epochs": 1,
            "steps_per_epoch": warm + given.steps,
            "batch_size": given.batch,
            **{part: given.batch // 2 if part == "accumulate" else value for part, value in special.items()},
        }
        if stage is ADALORA:
            schedule["steps_per_epoch"] = 1000  # it is stopped long before the prune
        recipe = scratch / f"{number}.json"
        document = {
            "name": "training", "seed": 0, "base": {"weights": str(resolve("lite-medsam")), "image_size": size},
            "stages": [{"name": "stage", "augmentation": 0.0, "schedule": schedule, **stage}],
        }  # fmt: skip
        recipe.write_text(json.dumps(document))
        source = scratch / "older" / "src" if old else ROOT / "src"
        command = [sys.executable, str(Path(__file__).resolve()), "--threads", str(given.threads), "--child"]
        children[name] = subprocess.Popen(
            [*command, str(recipe), str(manifest), str(scratch / f"run-{number}")],
            env={**os.environ, "PYTHONPATH": str(source)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        said(children[name].stdout)  # ready: what comes before the first step is done
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    memory: dict[str, float] = {}
    for step in range(warm + given.steps):
        for name, process in children.items():
            assert process.stdin is not None
            process.stdin.write("step\n")
            process.stdin.flush()
            answer = said(process.stdout)
            memory[name] = answer["peak_mb"]
            if step >= warm:
                seconds[name].append(answer["seconds"])
            print(f"{name}: step {step}: {answer['seconds']:.2f} s", flush=True)
    for process in children.values():
        process.kill()
        process.wait()
    return {
        name: {
            "seconds_a_step": round(median(seconds[name]), 3),
            "peak_mb": memory[name],
            "steps": given.steps,
        }
        for name in rows
    }


def ratios(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return how many times a row is quicker than the older loop, and its share of the memory."""
    found = {}
    for name, row in rows.items():
        older = rows[f"{name.split(',')[0]}, older loop"]
        if row is not older:
            found[f"{name}: times as quick"] = round(older["seconds_a_step"] / row["seconds_a_step"], 2)
            found[f"{name}: share of memory"] = round(row["peak_mb"] / older["peak_mb"], 2)
    return found


def divided(folder: Path, training: int) -> Path:
    """Return a manifest of the phantoms with that many training films and one of validation."""
    lines = (folder / "manifest.csv").read_text().splitlines()
    place = lines[0].split(",").index("split")
    rows = [line.split(",") for line in lines[1 : training + 2]]
    for number, row in enumerate(rows):
        row[place] = "val" if number == training else "train"
    path = folder / "divided.csv"
    path.write_text("\n".join([lines[0], *(",".join(row) for row in rows)]) + "\n")
    return path


def said(stream: IO[str] | None) -> dict[str, float]:
    """Return the next line of a child that is JSON."""
    assert stream is not None
    for line in stream:
        if line.startswith("{"):
            answer: dict[str, float] = json.loads(line)
            return answer
    raise SystemExit("a row has stopped: run it alone with --child to see why")


def child(recipe: Path, manifest: Path, out: Path, threads: int) -> None:
    """Train; before each step wait for a line on standard input, after it say how long it took."""
    import torch

    from adaloraqat.training.loop import StageTraining
    from adaloraqat.training.recipe import parse_recipe
    from adaloraqat.training.train import train

    torch.set_num_threads(threads)
    name = "step" if hasattr(StageTraining, "step") else "_step"  # as the older loop calls it
    plain = getattr(StageTraining, name)
    begun: list[bool] = []

    def step(self: StageTraining) -> dict[str, float]:
        if not begun:
            begun.append(True)
            print(json.dumps({"ready": 1}), flush=True)
        if not sys.stdin.readline():
            sys.exit(1)  # whoever measures is gone
        started = time.perf_counter()
        terms: dict[str, float] = plain(self)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": time.perf_counter() - started, "peak_mb": round(peak)}), flush=True)
        return terms

    setattr(StageTraining, name, step)
    train(parse_recipe(json.loads(recipe.read_text())), manifest, out)


if __name__ == "__main__":
    main()
