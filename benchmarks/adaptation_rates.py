"""The learning rates of recipes/adaptation/, searched on the validation split alone (64 films, 36 steps).

    python benchmarks/adaptation_rates.py --data MANIFEST [--runs runs/adaptation-rates]

Resumable. Every method gets the same number of tries. Writes benchmarks/results/adaptation_rates.json; the best
line of each method is what its recipe says. Scratch takes the rate of the base's own training.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from adaptation import ROOT, adaloraqat, machine

from adaloraqat.training.recipe import SHIPPED_RECIPES

TRIES: dict[str, list[dict[str, float]]] = {
    "adalora": [
        {"adapters": 2e-3, "singular_values": 1e-2, "decoder": 1e-3},
        {"adapters": 2e-3, "singular_values": 5e-2, "decoder": 1e-3},
        {"adapters": 6e-3, "singular_values": 5e-2, "decoder": 1e-3},
        {"adapters": 6e-3, "singular_values": 2e-1, "decoder": 2e-3},
    ],
    "decoder-only": [{"decoder": 5e-4}, {"decoder": 1e-3}, {"decoder": 2e-3}, {"decoder": 4e-3}],
    "full": [
        {"encoder": 1e-4, "decoder": 1e-4},
        {"encoder": 3e-4, "decoder": 3e-4},
        {"encoder": 6e-4, "decoder": 6e-4},
        {"encoder": 3e-4, "decoder": 1e-3},
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/adaptation-rates")
    options = parser.parse_args()
    rows = []
    for method, tries in TRIES.items():
        for number, rates in enumerate(tries):
            rows.append(attempt(method, number, rates, options.data, options.runs))
            result = {
                "rows": rows,
                "machine": machine(),
                "command": "python benchmarks/adaptation_rates.py --data MANIFEST",
            }
            text = json.dumps(result, indent=1) + "\n"
            (ROOT / "benchmarks/results/adaptation_rates.json").write_text(text)
            print(rows[-1], flush=True)


def attempt(method: str, number: int, rates: dict[str, float], data: Path, runs: Path) -> dict[str, Any]:
    """Train one try without its second stage; return its rates and its score on the validation split."""
    run = runs / f"{method}-{number}"
    recipe = SHIPPED_RECIPES / f"adaptation/{method}.yaml"
    if not (run / "result.json").exists():
        changes = {f"stages.0.learning_rates.{name}": rate for name, rate in rates.items()}
        changes |= {"data.limit": 64}
        if method == "adalora":
            changes |= {"stages.1.train": "nothing", "stages.1.policy": "fp32"}
        settings = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
        adaloraqat("train", recipe, "--data", data, "--out", run, "--resume", *settings)
    stage = json.loads((run / "result.json").read_text())["stages"][0]
    return {"method": method, "rates": rates, "validation": stage["after"]}


if __name__ == "__main__":
    main()
