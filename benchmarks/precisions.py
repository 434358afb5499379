"""What does INT8 cost the adapted foundation model? One bundle in every precision, on the same test films.

    python benchmarks/precisions.py --data MANIFEST [--model lung-field] [--source jsrt --source shenzhen]

MANIFEST is the one of docs/results.md. Each precision is exported from the stored weights of `--model` (which ships as
`w8`) with activation ranges from 32 training films, no training after it, and evaluated beside the model on the test
films, no box. Nothing is chosen here. Resumable: what lies below --runs is kept. Writes
benchmarks/results/precisions.json and prints the table of docs/quantisation.md.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from adaloraqat.bundle import load_bundle
from adaloraqat.datasets.manifest import read_manifest, write_manifest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/precisions.json"
PRECISIONS = ("w8a8", "int8", "qmedsam")
MOST = 0.02  # Dice that no film may lose


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="lung-field")
    parser.add_argument("--source", action="append", help="default: jsrt and shenzhen")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="default: all")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/precisions")
    asked = parser.parse_args()
    sources, precisions = asked.source or ["jsrt", "shenzhen"], asked.precision or PRECISIONS
    asked.runs.mkdir(parents=True, exist_ok=True)
    films = asked.runs / "films.csv"
    write_manifest(films, [entry for entry in read_manifest(asked.data) if entry.source in sources])
    rows = [
        row for row in _known() if row["model"] != asked.model or row["precision"] not in (*precisions, "w8")
    ]
    for precision in precisions:
        bundle = asked.runs / f"{asked.model}-{precision}"
        if not (bundle / "bundle.json").exists():
            adaloraqat(
                "export", asked.model, "--precision", precision, "--data", films, "--name", bundle.name, "--out", bundle
            )  # fmt: skip
    names = [f"{asked.model}-{precision}" for precision in precisions]
    out = asked.runs / f"{asked.model}-scores"
    if not (out / "evaluation.json").exists() or not set(names) <= set(_models(out)):
        adaloraqat(
            "evaluate", asked.model, *(asked.runs / name for name in names), "--data", films, "--out", out
        )
    scores = _scores(out / "films.csv")
    for name, precision in zip([asked.model, *names], ["w8", *precisions], strict=True):
        bundle = load_bundle(asked.model if precision == "w8" else asked.runs / name)
        rows.append(
            {
                "model": asked.model,
                "precision": precision,
                "bytes": sum(file.bytes for file in bundle.files.values()),
                "parity": dict(bundle.parity),
                "sources": {source: _against(scores, name, asked.model, source) for source in sources},
            }
        )
    document = {
        "rows": rows,
        "machine": machine(),
        "command": "python benchmarks/precisions.py --data MANIFEST",
    }
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    print(table(rows))


def _models(out: Path) -> list[str]:
    return list(json.loads((out / "evaluation.json").read_text())["models"])


def _known() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(RESULTS.read_text())["rows"] if RESULTS.is_file() else []
    return found


Scores = dict[tuple[str, str], dict[str, tuple[float, float]]]
"""{(model, source): {film: (Dice, NSD at 2 px)}}, no box; a film that failed has 0."""


def _scores(path: Path) -> Scores:
    found: Scores = {}
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["prompt"] == "no_box":
                numbers = (float(row["dice"] or 0), float(row["nsd_2"] or 0))
                found.setdefault((row["model"], row["source"]), {})[row["id"]] = numbers
    return found


def _against(scores: Scores, name: str, model: str, source: str) -> dict[str, float]:
    """Return the means of one precision, and what its films lost against the model as it ships."""
    own, base = scores[name, source], scores[model, source]
    films = sorted(base)
    ours, theirs = (np.array([table[film] for film in films]) for table in (own, base))
    lost = theirs - ours
    return {
        "films": len(films),
        "dice_mean": float(ours[:, 0].mean()),
        "dice_worst": float(ours[:, 0].min()),
        "nsd_2_mean": float(ours[:, 1].mean()),
        "dice_lost_mean": float(lost[:, 0].mean()),
        "nsd_2_lost_mean": float(lost[:, 1].mean()),
        "dice_lost_most": float(lost[:, 0].max()),
        "films_lost_more": int((lost[:, 0] > MOST).sum()),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table of docs/quantisation.md."""
    lines = [
        "| model | precision | MB | source | Dice | NSD 2 px | worst film | mean loss | largest loss of a film |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for source, n in row["sources"].items():
            lines.append(
                f"| {row['model']} | {row['precision']} | {row['bytes'] / 1e6:.2f} | {source}, {n['films']} | "
                f"{n['dice_mean']:.4f} | {n['nsd_2_mean']:.3f} | {n['dice_worst']:.3f} | {n['dice_lost_mean']:+.4f} | "
                f"{n['dice_lost_most']:+.4f} |"
            )
    return "\n".join(lines)


def adaloraqat(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "adaloraqat", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
