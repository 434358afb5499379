"""Scores of the shipped models on the test splits, INT8 beside FP32, and the model cards' numbers.

    python benchmarks/shipped.py --data MANIFEST [--runs runs] [--tables reports]

MANIFEST holds jsrt, shenzhen and covid_v7 with the splits that `adaloraqat data split films.csv --out MANIFEST
--fractions 0.7,0.15,0.15` makes (test: 36, 83 and 52 films); runs/ holds the runs lung-base, lung-field and lung-whole that
made the models. Writes benchmarks/results/shipped.json and
docs/results.md, and appends the tables that `adaloraqat report recipes/tables/N.yaml` left below reports/.

The weights in packages/weights come from the same runs: `--install base` after recipes/lung-base.yaml,
`--install lung-field lung-whole` after recipes/lung-field.yaml and recipes/lung-whole.yaml.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from adaptation import ROOT, adaloraqat, machine

from adaloraqat.bundle.shipped import shipped_base, shipped_path
from adaloraqat.models.checkpoints import save_base
from adaloraqat.training.run import load_float_run

FLOAT_RUNS = {
    "lung-field-fp32": ("lung-field", "stage2"),
    "lung-whole-fp32": ("lung-whole", "stage2"),
    "lung-base-fp32": ("lung-base", "fine"),
    "lung-whole-stage1-fp32": ("lung-whole", "stage1"),
}
"""Bundles in floating point: the weights that ship, then the models before stage 2."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--tables", type=Path, default=ROOT / "reports")
    parser.add_argument("--install", nargs="+", default=[], choices=["base", "lung-field", "lung-whole"])
    options = parser.parse_args()
    for name in options.install:
        install(name, options.runs, options.data)
    if options.install:
        return
    models: list[object] = ["lung-field", "lung-whole"]
    for name, (run, stage) in FLOAT_RUNS.items():
        bundle = options.runs / name
        if (options.runs / run).is_dir():
            if not newer(bundle / "bundle.json", options.runs / run / "result.json"):
                adaloraqat(
                    "export",
                    options.runs / run,
                    "--stage",
                    stage,
                    "--precision",
                    "fp32",
                    "--out",
                    bundle,
                    "--data",
                    options.data,
                )
            models.append(bundle)
    out = options.runs / "shipped-scores"
    adaloraqat("evaluate", *models, "--data", options.data, "--out", out)
    evaluation = json.loads((out / "evaluation.json").read_text())
    sizes = {name: size(shipped_path(name)) for name in ("lung-field", "lung-whole")}
    sizes["base"] = size(shipped_base())
    parity = {
        name: json.loads((shipped_path(name) / "bundle.json").read_text())["parity"]
        for name in sizes
        if name != "base"
    }
    result = {
        "evaluation": evaluation,
        "bytes": sizes,
        "parity": parity,
        "machine": machine(),
        "command": "python benchmarks/shipped.py --data MANIFEST",
    }
    (ROOT / "benchmarks/results/shipped.json").write_text(json.dumps(result, indent=1) + "\n")
    results = ROOT / "docs/results.md"
    kept = results.read_text().partition(TABLES)[2]  # tables made elsewhere stay until they are made anew
    made = tables(options.tables)
    results.write_text("\n".join([page(result), TABLES + ("\n\n" + "\n".join(made) if made else kept)]))
    for name in MADE:
        (shipped_path(name) / "README.md").write_text(card(name, result))


def newer(made: Path, source: Path) -> bool:
    return made.exists() and made.stat().st_mtime > source.stat().st_mtime


def install(name: str, runs: Path, data: Path) -> None:
    """Put the base of runs/lung-base, or the bundle of runs/NAME, where the package ships it."""
    target = shipped_base() if name == "base" else shipped_path(name)
    card = (target / "README.md").read_text()
    shutil.rmtree(target)
    if name == "base":
        save_base(load_float_run(runs / "lung-base").model, target, half=True)
    else:
        adaloraqat("export", runs / name, "--out", target, "--data", data)
    (target / "README.md").write_text(card)


CARD = """# {name}

**Outlines** {outlines}. **Not a medical device**; non-commercial research only (LICENSE-WEIGHTS, beside the package's
LICENSE, or in the repository).

- **Model**: a small Segment Anything (`lite_medsam_small`): 256 px, TinyViT encoder (stages of width 32, 96, 160, 192 on
  grids of 64, 32, 32, 32), SAM's prompt encoder and mask decoder at width 128; 4.1 million parameters; {made}
- **Input**: a frontal chest film, any size; box prompt, or none (the whole film).
- **Trained on**: {data} Split by patient, 70/15/15.
- **Recipe**: `recipes/{name}.yaml` (on `recipes/lung-base.yaml`).
- **Scores** on the test split (Dice of the saved mask on the original grid; INT8, ONNX Runtime):

{table}

- **Limits**: adults, frontal views. Children, lateral views, a removed lung, large effusions and films of other
  modalities were hardly seen or not at all. A missing warning is no proof of a right mask. Scores on films of other
  hospitals will be lower.
"""
TABLES = "<!-- tables by adaloraqat report -->"
MADE = {
    "lung-field": (
        "trained from scratch (the base), then quantisation-aware training to INT8.",
        "jsrt (168 films) and shenzhen (388 films).",
    ),
    "lung-whole": (
        "the base adapted by AdaLoRA-QAT, both stages.",
        "covid_v7 (235 films), from a base trained on jsrt and shenzhen.",
    ),
}


def tables(reports: Path) -> list[str]:
    """Return the Markdown of every table below `reports`, and keep its numbers beside the other results."""
    found = []
    for folder in sorted(reports.glob("table-*")):
        if (folder / "table.md").exists():
            found.append((folder / "table.md").read_text())
            (ROOT / f"benchmarks/results/{folder.name}.json").write_text((folder / "table.json").read_text())
    return found


def card(name: str, result: dict[str, Any]) -> str:
    """Return the model card of a shipped model."""
    made, data = MADE[name]
    document = json.loads((shipped_path(name) / "bundle.json").read_text())
    rows = ["| source | prompt | films | Dice | worst film |", "|---|---|---|---|---|"]
    for source, prompts in result["evaluation"]["models"][name].items():
        for prompt, n in prompts.items():
            if source != "all":
                rows.append(
                    f"| {source} | {prompt.replace('_', ' ')} | {n['films']} | {n['dice_mean']:.4f} | {n['dice_worst']:.3f} |"
                )
    return CARD.format(name=name, outlines=document["outlines"], made=made, data=data, table="\n".join(rows))


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def interval(numbers: dict[str, Any]) -> str:
    ends = numbers["dice_interval"]
    return f" [{ends[0]:.4f}, {ends[1]:.4f}]" if ends else ""


def page(result: dict[str, Any]) -> str:
    """Return docs/results.md."""
    lines = [
        "# Results",
        "",
        "## The models that ship",
        "",
        "Test splits, made by `adaloraqat data split films.csv --out MANIFEST --fractions 0.7,0.15,0.15` (15 % of the patients",
        "of each source, never used for any choice), Dice and IoU of the saved mask on each film's original grid, all films",
        "counted; in brackets the 95 % interval of the mean, patients drawn ([measures.md](measures.md)). `no box` is how a person uses the model; `true box` is the",
        "protocol of most papers, with the box of the ground truth. `lung-field-fp32` and `lung-whole-fp32` are the same",
        "weights without quantisation, `lung-base-fp32` and `lung-whole-stage1-fp32` the models before stage 2. Table by",
        "`python benchmarks/shipped.py --data MANIFEST`.",
        "",
        "| model | source | prompt | films | Dice [95 %] | SD | worst film | IoU | failed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model, groups in result["evaluation"]["models"].items():
        for source, prompts in groups.items():
            if source == "all":
                continue
            for prompt, n in prompts.items():
                lines.append(
                    f"| {model} | {source} | {prompt.replace('_', ' ')} | {n['films']} | {n['dice_mean']:.4f}{interval(n)} | "
                    f"{n['dice_sd']:.4f} | {n['dice_worst']:.3f} | {n['iou_mean']:.4f} | {n['failed']} |"
                )
    if "withdrawn" in result["evaluation"]:
        lines += ["", result["evaluation"]["withdrawn"]]
    lines += [
        "",
        "Files on disk: " + ", ".join(f"{k} {v / 1e6:.2f} MB" for k, v in result["bytes"].items()) + ".",
        "",
    ]
    lines += [
        "## Parity: the integer model against the trained one",
        "",
        "Validation films; equal pixels and Dice between the masks of the bundle and of the fake-quantised model it came",
        "from; the noise floor is that model against itself on an input changed by 1e-6. Measured by `adaloraqat export`,",
        "written into each bundle.json; this table by the same command as the one above.",
        "",
        "| model | path | runtime | equal pixels | Dice | worst film's Dice | worst layer, LSB |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, parity in result["parity"].items():
        for path in ("true_box", "no_box"):
            for runtime, n in parity[path].items():
                if runtime == "films":
                    continue
                layer = parity["layers"].get(runtime, {}).get("worst_lsb")
                lines.append(
                    f"| {model} | {path.replace('_', ' ')} | {runtime.replace('_', ' ')} | {100 * n['equal_pixels']:.3f} % | "
                    f"{n['dice']:.5f} | {n['worst']['dice']:.4f} | {f'{layer:.4f}' if layer is not None else '–'} |"
                )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
