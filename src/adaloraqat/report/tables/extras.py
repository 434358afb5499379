"""What a page may show beside its table: audit.json, and the folders of `analyse` and `robustness`.

All of it is read before anything is trained, so that a wrong path is told at once.
"""

import json
import re
from pathlib import Path
from typing import Any

from adaloraqat.errors import ManifestError, RecipeError
from adaloraqat.report.page import png_address, png_width
from adaloraqat.report.robustness_table import tables


def audit_of(path: Path | None) -> str:
    """Return what an audit found, in words.

    Raises:
        ManifestError: the file is no audit.json.
    """
    if path is None:
        return "not given; run adaloraqat data audit and give its audit.json with --audit"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        counts = [len(found[key]) for key in ("duplicates", "split_leaks", "problems")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path.name} is no audit.json from `adaloraqat data audit`.") from error
    return "{} duplicate pairs, {} leaks between splits, {} problems".format(*counts)


def analysis_of(folder: Path) -> list[dict[str, Any]]:
    """Return the figures of an analysis: title, caption, data address and width (CSS px) of each.

    Raises:
        RecipeError: the folder holds no analysis.
    """
    document = _document(folder / "analysis.json", "errors", "sensitivity", "adaloraqat analyse")
    figures = []
    for key, numbers in document["errors"].items():
        for what, found in numbers.items():
            noise = "unchanged" if found["decibels"] is None else f"{found['decibels']:.1f} dB"
            caption = _true_minus(
                f"{found['n']:,} {what}: error {found['mean']:.2e} ± {found['sd']:.2e}, excess kurtosis "
                f"{found['excess_kurtosis']:+.2f} (0 for a Gaussian, −1.2 for one uniform grid), "
                f"{noise}. Distance to the fitted Gaussian (Kolmogorov and Smirnov): "
                f"D = {found['normality_statistic']:.3f}, "
                f"p {'< 0.001' if found['normality_p'] < 0.001 else format(found['normality_p'], '.3f')}."
            )
            policy, _, weight_range = key.rpartition("-")
            title = f"Quantisation error of the {what}, policy {policy}, {weight_range} weight range"
            figures += _picture(folder / f"errors-{key}-{what}.png", title, caption)
    found = document["sensitivity"]
    figures += _picture(
        folder / "sensitivity.png",
        "Sensitivity to quantisation",
        "Points (hundredths) of validation Dice lost when only this group is INT8; of stage "
        f"{document['stage']}. Hatched groups stay in float so that the whole model loses at most "
        f"{100 * found['max_drop']:g} points.",
    )
    return figures


def robustness_of(folder: Path) -> list[dict[str, Any]]:
    """Return the tables of a robustness run: `title`, `caption`, `heads` and `rows` of text each.

    Raises:
        RecipeError: the folder holds no robustness run.
    """
    document = _document(folder / "robustness.json", "rows", "conditions", "adaloraqat robustness")
    return tables(document)


def _true_minus(text: str) -> str:
    """Replace the hyphens before numbers: a browser breaks a line behind them."""
    return re.sub(r"(?<![\w.])-(?=\d)|(?<=e)-(?=\d)", "−", text)


def _picture(path: Path, title: str, caption: str) -> list[dict[str, Any]]:
    try:
        content = path.read_bytes()
        width = png_width(content)
    except OSError:
        return []  # a figure that someone removed or broke leaves a gap, no failure
    return [{"title": title, "caption": caption, "address": png_address(content), "width": width}]


def _document(path: Path, first: str, second: str, command: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict) or not {first, second} <= set(document):
        raise RecipeError(f"{path.parent.name} holds no finished {path.name}: run `{command}` first.")
    return document
