"""PTQ, Λ-only QAT (the paper's stage 2) and full QAT of the same stage-1 run, per policy, in one table.

    python benchmarks/stage2.py --run RUN --data MANIFEST [--out runs/stage2]

RUN is a finished run with an adalora stage. Resumable. Writes benchmarks/results/stage2.json and the table in
docs/stage2.md. Scored on the test split of the sources that the recipes name, INT8 in ONNX Runtime.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from adaptation import ROOT, adaloraqat, covid_only, machine

VARIANTS = {"ptq": "PTQ", "lambda": "Λ only, 1e-6 (paper)", "all": "all weights, 2e-5"}
POLICIES = ("paper", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "runs/stage2")
    options = parser.parse_args()
    bundles = {"fp32": bundle(options.run, options.out / "fp32", options.data, "--precision", "fp32")}
    runs: dict[str, Path] = {}
    for policy in POLICIES:
        for variant in VARIANTS:
            key = f"{policy}-{variant}"
            run = options.out / f"{key}-run"
            if not (run / "result.json").exists():
                recipe = ROOT / f"recipes/adaptation/stage2-{variant}.yaml"
                settings = ["--set", f"base.weights={options.run}", "--set", f"stages.0.policy={policy}"]
                adaloraqat("train", recipe, "--data", options.data, "--out", run, "--resume", *settings)
            runs[key] = run
            bundles[key] = bundle(run, options.out / key, options.data)
    scores = options.out / "scores"
    if not (scores / "evaluation.json").exists():
        films = covid_only(options.data, options.out)
        adaloraqat("evaluate", *bundles.values(), "--data", films, "--out", scores)
    rows = [row(key, path, runs.get(key), scores) for key, path in bundles.items()]
    result = {
        "rows": rows,
        "machine": machine(),
        "command": "python benchmarks/stage2.py --run RUN --data MANIFEST",
    }
    (ROOT / "benchmarks/results/stage2.json").write_text(json.dumps(result, indent=1) + "\n")
    (ROOT / "docs/stage2.md").write_text(page(rows))


def bundle(run: Path, out: Path, data: Path, *arguments: str) -> Path:
    if not (out / "bundle.json").exists():
        adaloraqat("export", run, "--out", out, "--data", data, *arguments)
    return out


def row(key: str, path: Path, run: Path | None, scores: Path) -> dict[str, Any]:
    numbers = json.loads((scores / "evaluation.json").read_text())["models"][path.name]["covid_v7"]
    document = json.loads((path / "bundle.json").read_text())
    stage = json.loads((run / "result.json").read_text())["stages"][-1] if run else None
    return {
        "bundle": key,
        "policy": document["precision"]["policy"],
        "dice_no_box": numbers["no_box"]["dice_mean"],
        "dice_true_box": numbers["true_box"]["dice_mean"],
        "worst_no_box": numbers["no_box"]["dice_worst"],
        "bytes": sum(entry["bytes"] for entry in document["files"].values()),
        "parity": document["parity"],
        "validation_ptq": stage["before"]["dice_no_box"] if stage else None,
        "validation_after": stage["after"]["dice_no_box"] if stage else None,
        "max_singular_value_change": stage["max_singular_value_change"] if stage else None,
        "trainable_parameters": stage["trainable_parameters"] if stage else None,
    }


def page(rows: list[dict[str, Any]]) -> str:
    """Return docs/stage2.md."""
    lines = [
        "# Stage 2: what quantisation-aware training adds",
        "",
        "One stage-1 run (lung-whole's), three second stages, two policies; 7-bit weight range; test films of",
        "covid_v7, the integer model in ONNX Runtime. `gain` is validation Dice (no box) of the best epoch minus that",
        "of plain post-training quantisation of the same run, which is epoch 0. max |Δλ| is how far any singular value",
        "moved. Table by `python benchmarks/stage2.py --run RUN --data MANIFEST`.",
        "",
        "| policy | stage 2 | learns | max abs Δλ | gain over PTQ | test Dice no box | true box | worst | MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        variant = VARIANTS.get(r["bundle"].partition("-")[2], "– (float)")
        change = r["max_singular_value_change"]
        gain = r["validation_after"] - r["validation_ptq"] if r["validation_ptq"] is not None else None
        lines.append(
            f"| {r['policy']} | {variant} | {r['trainable_parameters'] or 0:,} | "
            f"{f'{change:.1e}' if change is not None else '–'} | {f'{gain:+.4f}' if gain is not None else '–'} | "
            f"{r['dice_no_box']:.4f} | {r['dice_true_box']:.4f} | {r['worst_no_box']:.3f} | {r['bytes'] / 1e6:.2f} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
