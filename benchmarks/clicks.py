"""What clicks are worth: Dice after 0 to 5 of them, from nothing and from the automatic mask, by `adaloraqat evaluate`.

    python benchmarks/clicks.py --data split.csv [--source jsrt] [--split val] [--runs runs/clicks] [MODEL ...]

Each model is scored by the command itself, in a folder of its own below --runs: a model that is scored stays
so, and an interrupted one goes on. A MODEL is a name, a bundle's folder or the run of one stage. Writes
benchmarks/results/clicks.json and the table of docs/points.md. The split is made by `adaloraqat data split MANIFEST
--out split.csv --fractions 0.7,0.15,0.15`; lite-medsam needs `adaloraqat weights get lite-medsam`. A model that
learnt from clicks is made by the two commands of recipes/adaptation/clicks.yaml.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from adaptation import ROOT, adaloraqat
from machine import machine

from adaloraqat.datasets.manifest import read_manifest, write_manifest
from adaloraqat.evaluate.rows import NO_BOX, TRUE_BOX
from adaloraqat.evaluate.score import click_prompt, correction_prompt

RESULTS = ROOT / "benchmarks/results/clicks.json"
PAGE = ROOT / "docs/points.md"
BEGIN, END = "<!-- made by benchmarks/clicks.py: begin -->", "<!-- end -->"
NUMBERS = ("films", "dice_mean", "dice_interval", "dice_worst", "failed")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", default=["lite-medsam", "lung-field"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--source", default="jsrt")
    parser.add_argument("--split", default="val")
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/clicks")
    asked = parser.parse_args()
    asked.runs.mkdir(parents=True, exist_ok=True)
    data = asked.runs / f"{asked.source}.csv"
    write_manifest(data, [entry for entry in read_manifest(asked.data) if entry.source == asked.source])
    for model in asked.models:
        name = Path(model).name
        keep(name, scored(model, name, data, asked), asked)


def scored(model: str, name: str, data: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Evaluate a model with clicks, unless it is evaluated; return its numbers by prompt."""
    out, count = asked.runs / f"{name}-{asked.split}-{asked.clicks}", str(asked.clicks)
    if not (out / "evaluation.json").exists():
        split = ("--data", data, "--split", asked.split)
        adaloraqat("evaluate", model, *split, "--clicks", count, "--corrections", count, "--out", out)
    found = json.loads((out / "evaluation.json").read_text())["models"]
    (groups,) = found.values()  # one model, of which one stage was trained
    return {prompt: {key: n[key] for key in NUMBERS} for prompt, n in groups[asked.source].items()}


def keep(name: str, numbers: dict[str, Any], asked: argparse.Namespace) -> None:
    """Put a model into the results, and the results into the page."""
    document = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    setup = {"source": asked.source, "split": asked.split, "clicks": asked.clicks}
    if document.get("setup") != setup:  # numbers of other films stand in no common table
        document = {"setup": setup, "models": {}}
    document["models"][name] = numbers
    document |= {"machine": machine(), "command": "python benchmarks/clicks.py --data split.csv"}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    lines = table(document)
    print("\n".join(lines), flush=True)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text("\n".join([before + BEGIN, "", *lines, "", END]) + rest.partition(END)[2])


def table(document: dict[str, Any]) -> list[str]:
    """Return the table, two lines a model, whose clicks begin with nothing or with its mask of no box."""
    counts = range(1, document["setup"]["clicks"] + 1)
    titles = ["no box", "true box", *(f"{n} click{'s' if n > 1 else ''}" for n in counts)]
    rows = [["Dice, mean (worst film)", *titles], ["---"] * (len(titles) + 1)]
    for name, prompts in document["models"].items():
        starts = {
            f"`{name}`": [NO_BOX, TRUE_BOX, *map(click_prompt, counts)],
            f"`{name}`, its mask corrected": [None, None, *map(correction_prompt, counts)],
        }
        for title, columns in starts.items():
            if prompts.keys() >= {column for column in columns if column}:
                rows.append([title, *(_cell(prompts[column]) if column else "" for column in columns)])
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(numbers: dict[str, Any]) -> str:
    return f"{numbers['dice_mean']:.4f} ({numbers['dice_worst']:.2f})"


if __name__ == "__main__":
    main()
