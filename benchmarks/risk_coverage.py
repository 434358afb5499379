"""Draw docs/images/risk_coverage.svg from results/structures.json: `python benchmarks/risk_coverage.py`.

Risk (1 - mean Dice) of the test films that are kept when those with the lowest expected Dice are left out.
"""

import json
from pathlib import Path

from adaloraqat.report.style import PALETTE, new_figure, style, svg_text

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "risk_coverage.svg"
TITLES = {"clean": "Films as they are", "corrupted": "Corrupted films"}


def main() -> None:
    models = json.loads((ROOT / "benchmarks/results/structures.json").read_text())["models"]
    with style():
        figure = new_figure(8, 3.2)
        axes = figure.subplots(1, 2, sharey=True)
        for place, (condition, title) in zip(axes, TITLES.items(), strict=True):
            for colour, (name, found) in zip(PALETTE, sorted(models.items()), strict=False):
                if points := found.get("risk_coverage", {}).get(condition):
                    across = [100 * point["coverage"] for point in points]
                    place.plot(across, [point["risk"] for point in points], ".-", color=colour, label=name)
            place.set_title(title)
            place.set_xlabel("films kept, %")
        axes[0].set_ylabel("1 - mean Dice of these")
        axes[0].set_ylim(bottom=0)
        axes[1].legend(frameon=False, loc="lower right", fontsize=8)
        PICTURE.write_text(svg_text(figure))


if __name__ == "__main__":
    main()
