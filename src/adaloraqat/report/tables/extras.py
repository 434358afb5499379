"""What a page may show beside its table: audit.json, and the folders of `analyse` and `robustness`.

All of it is read before anything is trained, so that a wrong path is told at once.
"""

import json
from pathlib import Path
from typing import Any

from adaloraqat.errors import ManifestError, RecipeError
from adaloraqat.report.page import png_address
from adaloraqat.report.robustness_table import markdown


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


def analysis_of(folder: Path) -> list[dict[str, str]]:
    """Return the figures of an analysis: title, caption and data address of each.

    Raises:
        RecipeError: the folder holds no analysis.
    """
    document = _document(folder / "analysis.json", "errors", "sensitivity", "adaloraqat analyse")
    figures = []
    for key, numbers in document["errors"].items():
        for what, found in numbers.items():
            caption = (
                f"{found['n']:,} {what}: error {found['mean']:.2e} ± {found['sd']:.2e}, excess kurtosis "
                f"{found['excess_kurtosis']:+.2f} (0 for a Gaussian, −1.2 for one uniform grid), "
                f"{found['decibels']:.1f} dB. Test of normality: K² = {found['normality_statistic']:.0f}, "
                f"p {'< 0.001' if found['normality_p'] < 0.001 else format(found['normality_p'], '.3f')}."
            )
            policy, _, weight_range = key.rpartition("-")
            title = f"Quantisation error of the {what}, policy {policy}, {weight_range} weight range"
            figures += _picture(folder / f"errors-{key}-{what}.png", title, caption)
    found = document["sensitivity"]
    figures += _picture(
        folder / "sensitivity.png",
        "Sensitivity to quantisation",
        f"Validation Dice lost when only this group is INT8; of stage {document['stage']}. Hatched groups "
        f"stay in float so that the whole model loses at most {found['max_drop']:g}.",
    )
    return figures


def robustness_of(folder: Path) -> list[dict[str, Any]]:
    """Return the tables of a robustness run: `caption`, `heads` and `rows` of text each.

    Raises:
        RecipeError: the folder holds no robustness run.
    """
    document = _document(folder / "robustness.json", "rows", "conditions", "adaloraqat robustness")
    return tables_of_markdown(markdown(document))


def tables_of_markdown(text: str) -> list[dict[str, Any]]:
    """Return the tables of a Markdown text, each with the words before it as its caption."""
    tables: list[dict[str, Any]] = []
    caption: list[str] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            caption += [line.strip("* ")] if line else []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not inside:
            tables.append({"caption": " ".join(caption), "heads": cells, "rows": []})
            caption, inside = [], True
        elif not all(set(cell) <= set("-: ") for cell in cells):
            tables[-1]["rows"].append(cells)
    return tables


def _picture(path: Path, title: str, caption: str) -> list[dict[str, str]]:
    try:
        return [{"title": title, "caption": caption, "address": png_address(path.read_bytes())}]
    except OSError:
        return []  # a figure that someone removed leaves a gap, no failure


def _document(path: Path, first: str, second: str, command: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict) or not {first, second} <= set(document):
        raise RecipeError(f"{path.parent.name} holds no finished {path.name}: run `{command}` first.")
    return document
