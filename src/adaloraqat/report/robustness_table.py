"""The tables of a robustness run: how much Dice each corruption and each careless box costs."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaloraqat.files import write_text
from adaloraqat.measure.statistics import bootstrap_mean
from adaloraqat.radiograph.corrupt import CLEAN
from adaloraqat.report.film_rows import NO_BOX, TRUE_BOX, FilmRow
from adaloraqat.report.markdown import plain, table
from adaloraqat.report.summary import numbers


def jitter_prompt(jitter: int) -> str:
    """Return what the prompt of a jittered box is called, as `box_jitter_5`."""
    return f"box_jitter_{jitter}"


def summarise(
    found: Mapping[tuple[str, str], Sequence[FilmRow]], tolerances: Sequence[float], seed: int
) -> list[dict[str, Any]]:
    """Return one row for each model, condition and prompt, with the drop against the clean films.

    Args:
        found: rows by (model, condition); every model has the condition "clean".
        tolerances: of the NSD.
        seed: of the bootstrap.
    """
    return [
        {
            "model": model,
            "condition": condition,
            "prompt": prompt,
            **numbers(own, tolerances, seed),
            **_drop(own, found[model, CLEAN], seed),
        }
        for (model, condition), rows in found.items()
        for prompt in dict.fromkeys(row.prompt for row in rows)
        if (own := [row for row in rows if row.prompt == prompt])
    ]


def _drop(rows: Sequence[FilmRow], clean: Sequence[FilmRow], seed: int) -> dict[str, Any]:
    """Return how much Dice is lost against clean films with the same prompt (the true box, for any box)."""
    prompt = NO_BOX if rows[0].prompt == NO_BOX else TRUE_BOX
    before = {row.id: row for row in clean if row.prompt == prompt}
    pairs = [(before[row.id], row) for row in rows if row.id in before]
    if not pairs or rows[0] is pairs[0][0]:
        return {"drop": None, "drop_interval": None}
    lost = [first.scores["dice"] - second.scores["dice"] for first, second in pairs]
    interval = None
    if not any(row.lost for pair in pairs for row in pair):  # failures and scores have no interval together
        low, high = bootstrap_mean(lost, [row.patient_id for _, row in pairs], seed)
        interval = [low, high] if math.isfinite(low) else None
    return {"drop": sum(lost) / len(lost), "drop_interval": interval}


def write_tables(document: Mapping[str, Any], out: Path) -> None:
    """Write robustness.csv (every number) and robustness.md (what a reader needs).

    Raises:
        OutputError: a file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(document["rows"][0]), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(document["rows"])
    write_text(out / "robustness.csv", text.getvalue())
    write_text(out / "robustness.md", markdown(document))


def markdown(document: Mapping[str, Any]) -> str:
    """Return `tables` as Markdown."""
    parts = []
    for found in tables(document):
        if found["caption"]:
            parts.append(plain(found["caption"]))
        if found["title"]:
            parts.append(f"**{plain(found['title'])}**")
        parts.append(table(found["heads"], found["rows"]))
    return "\n\n".join(parts) + "\n"


def tables(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return per model the corruptions, then the boxes: `title`, `caption`, `heads` and `rows` of text each.

    Args:
        document: the content of robustness.json.
    """
    caption = (
        f"{document['films']} films ({', '.join(document['sources'])}), seed {document['seed']}. The drop is "
        "what is lost of the clean films' mean Dice with the same prompt, with its 95 % interval."
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
        plain = own[NO_BOX]
        cells = [f"{name}: {description}", *_dice(plain), str(plain["failed"])]
        if boxed:
            box = own.get(TRUE_BOX)
            cells += [*_dice(box), str(box["failed"])] if box else ["–"] * 4
        lines.append(cells)
    return {"heads": heads, "rows": lines}


def _boxes(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    clean = [row for row in rows if row["condition"] == CLEAN and row["prompt"] != NO_BOX]
    words = {TRUE_BOX: "box of the truth"}
    moved = f"each side moved by up to {{}} px of {document['jitter_grid']}"
    lines = [
        [
            words.get(row["prompt"], moved.format(row["prompt"].rpartition("_")[2])),
            *_dice(row),
            str(row["failed"]),
        ]
        for row in clean
    ]
    return {"heads": ["Box, clean films", "Dice", "Drop", "Worst", "Failed"], "rows": lines}


def _dice(row: Mapping[str, Any]) -> list[str]:
    drop = "–"
    if row["drop"] is not None:
        interval = row["drop_interval"]
        drop = f"{row['drop']:+.4f}" + (f" [{interval[0]:+.4f}, {interval[1]:+.4f}]" if interval else "")
    return [f"{row['dice_mean']:.4f}", drop.replace("-", "−"), f"{row['dice_worst']:.3f}"]
