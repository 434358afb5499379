"""The adaptation table: covid_v7 with 16, 64 and all training films, four ways, at equal numbers of steps.

    python benchmarks/adaptation.py --data MANIFEST [--runs runs/adaptation]

Resumable: finished cells are kept, a cut-off one continues. Writes benchmarks/results/adaptation.json,
docs/adaptation.md and docs/images/adaptation-ranks.svg. Nothing is chosen on the test split.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import machine

from adaloraqat.report.figures import rank_map
from adaloraqat.report.style import svg_text
from adaloraqat.training.recipe import SHIPPED_RECIPES

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("adalora", "decoder-only", "full", "scratch")
CELLS = ((None, 0), (64, 0), (16, 0), (16, 1), (16, 2))  # (training films, draw)
TITLES = {
    "before": "before: the base (INT8 form of then)",
    "adalora/stage1": "AdaLoRA stage 1",
    "adalora/int8": "AdaLoRA-QAT stage 2, INT8 bundle",
    "decoder-only/finetune": "decoder only",
    "full/finetune": "full fine-tuning",
    "scratch/finetune": "from scratch",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/adaptation")
    parser.add_argument("--finished", action="store_true", help="only write the table of what was run")
    options = parser.parse_args()
    rows = score_base(options.data, options.runs)
    for films, draw in CELLS:
        for method in METHODS:
            scores = options.runs / f"{method}-{films or 'all'}-{draw}-scores" / "evaluation.json"
            if options.finished and not scores.exists():
                continue
            rows += run_cell(method, films, draw, options.data, options.runs)
            write(rows)
            print(f"{method} {films or 'all'} draw {draw}: done", flush=True)


def write(rows: list[dict[str, Any]]) -> None:
    """Write what is known so far; cells that are still to come stand as a dash."""
    command = "python benchmarks/adaptation.py --data MANIFEST"
    result = {"rows": rows, "machine": machine(), "command": command}
    (ROOT / "benchmarks/results/adaptation.json").write_text(json.dumps(result, indent=1) + "\n")
    (ROOT / "docs/adaptation.md").write_text(page(rows))
    picture(rows, ROOT / "docs/images/adaptation-ranks.svg")


def run_cell(method: str, films: int | None, draw: int, data: Path, runs: Path) -> list[dict[str, Any]]:
    """Train, export and score one cell; what is there already is reused."""
    run = runs / f"{method}-{films or 'all'}-{draw}"
    settings = ["--set", f"data.draw={draw}"] + (["--set", f"data.limit={films}"] if films else [])
    recipe = SHIPPED_RECIPES / f"adaptation/{method}.yaml"
    if not (run / "result.json").exists():
        adaloraqat("train", recipe, "--data", data, "--out", run, "--resume", *settings)
    models = [run]
    if method == "adalora":
        bundle = runs / f"{run.name}-int8"
        if not (bundle / "bundle.json").exists():
            adaloraqat("export", run, "--out", bundle, "--data", data)
        models.append(bundle)
    scores = runs / f"{run.name}-scores"
    if not (scores / "evaluation.json").exists():
        adaloraqat("evaluate", *models, "--data", covid_only(data, runs), "--out", scores)
    stages = {stage["name"]: stage for stage in json.loads((run / "result.json").read_text())["stages"]}
    rows = []
    for name, groups in json.loads((scores / "evaluation.json").read_text())["models"].items():
        stage = "int8" if name.endswith("int8") else name.removeprefix(f"{run.name}-")
        if stage == "stage2":
            continue  # the fake-quantised model; its integer bundle stands in the table
        numbers = groups["covid_v7"]
        trained = stages["stage2" if stage == "int8" else stage]
        bundle_bytes = sum(f.stat().st_size for f in models[-1].iterdir()) if stage == "int8" else None
        rows.append(
            {
                "method": f"{method}/{stage}",
                "films": films,
                "draw": draw,
                "dice_no_box": numbers["no_box"]["dice_mean"],
                "dice_true_box": numbers["true_box"]["dice_mean"],
                "worst_no_box": numbers["no_box"]["dice_worst"],
                "failed": numbers["no_box"]["failed"],
                "trainable_parameters": trained["trainable_parameters"],
                "bundle_bytes": bundle_bytes,
                "ranks": trained["ranks"] if stage == "stage1" else None,
            }
        )
    return rows


def score_base(data: Path, runs: Path) -> list[dict[str, Any]]:
    """Score the base that was never adapted, by its run."""
    scores = runs / "before-scores"
    if not (scores / "evaluation.json").exists():
        adaloraqat("evaluate", runs / "lung-base", "--data", covid_only(data, runs), "--out", scores)
    numbers = json.loads((scores / "evaluation.json").read_text())["models"]["lung-base"]["covid_v7"]
    return [
        {
            "method": "before",
            "films": 0,
            "draw": 0,
            "dice_no_box": numbers["no_box"]["dice_mean"],
            "dice_true_box": numbers["true_box"]["dice_mean"],
            "worst_no_box": numbers["no_box"]["dice_worst"],
            "failed": numbers["no_box"]["failed"],
            "trainable_parameters": 0,
            "bundle_bytes": None,
            "ranks": None,
        }
    ]


def covid_only(data: Path, runs: Path) -> Path:
    """Write a manifest of the covid_v7 films alone."""
    from adaloraqat.datasets.manifest import read_manifest, write_manifest

    path = runs / "covid_v7.csv"
    if not path.exists():
        write_manifest(path, [entry for entry in read_manifest(data) if entry.source == "covid_v7"])
    return path


def adaloraqat(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "adaloraqat.cli.main", *map(str, arguments)], check=True)


def page(rows: list[dict[str, Any]]) -> str:
    """Return docs/adaptation.md."""
    lines = [
        "# Adapting to another hospital",
        "",
        "The base that ships (healthy and tuberculous lungs, the field without the heart) adapted to covid_v7 (ill",
        "patients, the whole lung). Test films of covid_v7, Dice on the original grid, no box; the figure in",
        "brackets is with the true box. 16 films: mean of three draws and their range. Every method takes equal",
        "steps (36 of 8 films), batches and augmentations. Rates: the best of four tries each, by validation Dice with 64",
        "films (`benchmarks/adaptation_rates.py`); from scratch the rate of the base's own training. A dash: not run yet.",
        "Stage 2 takes 12 more steps, trains every weight, and its bundle removes small components, part of its lead. By",
        "`python benchmarks/adaptation.py --data MANIFEST`.",
        "",
        "| method | trainable | bundle | 16 films | 64 films | all films |",
        "|---|---|---|---|---|---|",
    ]
    for method, title in TITLES.items():
        own = [row for row in rows if row["method"] == method]
        if not own:
            continue
        size = next((row["bundle_bytes"] for row in own if row["bundle_bytes"]), None)
        cells = [cell([r for r in own if r["films"] in (films, 0)]) for films in (16, 64, None)]
        lines.append(
            f"| {title} | {own[-1]['trainable_parameters']:,} | {f'{size / 1e6:.1f} MB' if size else '–'} | "
            + " | ".join(cells)
            + " |"
        )
    lines += [
        "",
        "The rank that each matrix kept (all films; r_max 12, 8 on average: the recipe's 24 and 16, scaled to the encoder's width):",
        "",
    ]
    lines += ["![Rank of every matrix](images/adaptation-ranks.svg)", ""]
    return "\n".join(lines)


def cell(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "–"
    values = [row["dice_no_box"] for row in rows]
    boxed = statistics.mean(row["dice_true_box"] for row in rows)
    spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread} [{boxed:.4f}]"


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the ranks of the run with all films: blocks across, q, k, v down."""
    ranks = next(row["ranks"] for row in rows if row["method"] == "adalora/stage1" and row["films"] is None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg_text(rank_map(ranks, max(ranks.values()))))


if __name__ == "__main__":
    main()
