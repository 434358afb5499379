"""The tables of a robustness run: how much Dice each corruption and each careless box costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaloraqat.evaluate.rows import NO_BOX, TRUE_BOX
from adaloraqat.files import write_text
from adaloraqat.radiograph.corrupt import CLEAN
from adaloraqat.report.page import read_finished
from adaloraqat.report.text import DASH, csv_text, markdown_table, plain, signed, with_interval


def write_tables(document: Mapping[str, Any], out: Path) -> None:
    """Write robustness.csv (every number) and robustness.md (what a reader needs).

    Raises:
        OutputError: a file cannot be written.
    """
    heads = list(document["rows"][0])
    rows = [[row.get(head) for head in heads] for row in document["rows"]]
    write_text(out / "robustness.csv", csv_text(heads, rows))
    write_text(out / "robustness.md", markdown(document))


def robustness_of(folder: Path) -> list[dict[str, Any]]:
    """Return the `tables` of the robustness run in a folder, for a page.

    Raises:
        RecipeError: the folder holds no robustness run.
    """
    return tables(read_finished(folder / "robustness.json", {"rows", "conditions"}, "adaloraqat robustness"))


def markdown(document: Mapping[str, Any]) -> str:
    """Return `tables` as Markdown."""
    parts = []
    for found in tables(document):
        if found["caption"]:
            parts.append(plain(found["caption"]))
        if found["title"]:
            parts.append(f"**{plain(found['title'])}**")
        parts.append(markdown_table(found["heads"], found["rows"]))
    return "\n\n".join(parts) + "\n"


def tables(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return per model the corruptions, then the boxes: `title`, `caption`, `heads` and `rows` of text each.

    Args:
        document: the content of robustness.json.
    """
    caption = (
        f"{document['films']} films ({', '.join(document['sources'])}), seed {document['seed']}. The drop is "
        "the loss from the clean films' mean Dice with the same prompt, with its 95 % interval."
    )
    found = []
    for model in dict.fromkeys(row["model"] for row in document["rows"]):
        rows = [row for row in document["rows"] if row["model"] == model]
        found.append({"title": model, "caption": caption, **_corruptions(document, rows)})
        caption = ""  # once, above all
        if any(row["prompt"] != NO_BOX for row in rows):
            found.append({"title": "", "caption": "", **_boxes(document, rows)})
    return found


def _corruptions(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    boxed = any(row["prompt"] == TRUE_BOX for row in rows)
    heads = ["Condition", "Dice, no box", "Drop", "Worst", "Failed"]
    heads += ["Dice, true box", "Drop", "Worst", "Failed"] if boxed else []
    lines = []
    for name, description in document["conditions"].items():
        own = {row["prompt"]: row for row in rows if row["condition"] == name}
        cells = [f"{name}: {description}", *_dice(own[NO_BOX])]
        if boxed:
            cells += _dice(own[TRUE_BOX]) if TRUE_BOX in own else [DASH] * 4
        lines.append(cells)
    return {"heads": heads, "rows": lines}


def _boxes(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    words = {TRUE_BOX: "box of the truth"}
    moved = f"each side moved by up to {{}} px of {document['jitter_grid']}"
    lines = [
        [words.get(row["prompt"], moved.format(row["prompt"].rpartition("_")[2])), *_dice(row)]
        for row in rows
        if row["condition"] == CLEAN and row["prompt"] != NO_BOX
    ]
    return {"heads": ["Box, clean films", "Dice", "Drop", "Worst", "Failed"], "rows": lines}


def _dice(row: Mapping[str, Any]) -> list[str]:
    """Return mean, drop, worst and the number of failed films."""
    drop = row["drop"]
    lost = DASH if drop is None else with_interval(signed(drop), row["drop_interval"], "+.4f")
    return [f"{row['dice_mean']:.4f}", lost, f"{row['dice_worst']:.3f}", str(row["failed"])]
