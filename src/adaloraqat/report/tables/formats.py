"""A built table as CSV and Markdown, and the cells of text that LaTeX and the page show too."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from adaloraqat.measure.film_scores import measure_label
from adaloraqat.report.markdown import plain, table

PROMPT_WORDS = {"no_box": "no box", "true_box": "box of the truth"}
DASH = "–"
DIFFERENCE = "Δ Dice [95 % CI]"
_COST_HEADS = {
    "parameters": "Parameters",
    "trainable": "Trainable",
    "megabytes": "File (MB)",
    "speed": "Speed (× reference)",
}
_PAPER_HEADS = {"dice": "Dice", "iou": "IoU", "nsd": "NSD", "hd95": "HD95 (px)"}


def cells(document: Mapping[str, Any], block: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the rows of text of one block (one source, one prompt).

    A score is `mean ± SD [95 % CI]`; Δ and p are of Dice against the reference; an empty row has dashes.
    """
    heads = ["Method", "Films", "Failed"]
    heads += [measure_label(measure, block["unit"]) for measure in document["measures"]]
    costs = [column for column in document["columns"] if column in _COST_HEADS]
    heads += [DIFFERENCE, "p (Holm)", "Effect", "Non-inferior"]
    heads += [_COST_HEADS[column] for column in costs]
    return heads, [_row(document, row, costs) for row in block["rows"]]


def _row(document: Mapping[str, Any], row: Mapping[str, Any], costs: Sequence[str]) -> list[str]:
    scores = [_score(measure, row["cells"].get(measure)) for measure in document["measures"]]
    reference = row["name"] == document["reference"]
    test = ["reference", "", "", ""] if reference and row["cells"] else _test(row["test"])
    return [
        row["name"], _count(row["films"]), _count(row["failed"]), *scores, *test,
        *(_cost(column, document["costs"][row["name"]]) for column in costs),
    ]  # fmt: skip


def _score(measure: str, cell: Mapping[str, Any] | None) -> str:
    if not cell or cell["mean"] is None:
        return DASH
    digits = _digits(measure)
    interval = cell["interval"]
    text = f"{cell['mean']:.{digits}f} ± {cell['sd']:.{digits}f}"
    if interval is None and cell["kept_interval"]:  # without the lost films
        text, interval = f"{text}; kept {cell['kept_mean']:.{digits}f}", cell["kept_interval"]
    return text + (f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]" if interval else "")


def _digits(measure: str) -> int:
    return 2 if measure in ("hd95", "assd") else 4


def _test(test: Mapping[str, Any] | None) -> list[str]:
    if test is None:
        return [DASH] * 4
    if test["mean_difference"] is None:
        return [DASH] * 4
    difference = f"{test['mean_difference']:+.4f}".replace("-", "−")
    if test["interval"]:
        low, high = (f"{side:+.4f}".replace("-", "−") for side in test["interval"])
        difference += f" [{low}, {high}]"
    p = DASH if test["holm_p"] is None else ("< 0.001" if test["holm_p"] < 0.001 else f"{test['holm_p']:.3f}")
    effect = DASH if test["effect_size"] is None else f"{test['effect_size']:+.2f}".replace("-", "−")
    return [difference, p, effect, {True: "yes", False: "not shown", None: DASH}[test["noninferior"]]]


def _cost(column: str, costs: Mapping[str, Any]) -> str:
    if column == "megabytes":
        return DASH if costs["bytes"] is None else f"{costs['bytes'] / 1e6:.2f}"
    value = costs[column]
    if value is None:
        return DASH
    return f"{value:.2f}" if column == "speed" else f"{value:,}"


def _count(value: int | None) -> str:
    return DASH if value is None else str(value)


def heading(document: Mapping[str, Any], block: Mapping[str, Any]) -> str:
    """Say what a block's films and prompt are."""
    kind = "phantom films" if document["phantoms"] else "films"
    source = "all sources" if block["source"] == "all" else block["source"]
    return f"{source}, {document['split']} {kind}, {PROMPT_WORDS[block['prompt']]}"


def to_csv(document: Mapping[str, Any]) -> str:
    """Return every block below one head, with source and prompt as columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, block in enumerate(document["blocks"]):
        heads, rows = cells(document, {**block, "unit": ""})
        if number == 0:
            writer.writerow(["Source", "Prompt", "Unit", *heads])
        unit = block["unit"]
        writer.writerows([block["source"], block["prompt"], unit, *row] for row in rows)
    return text.getvalue()


def to_markdown(document: Mapping[str, Any], command: str) -> str:
    """Return the table with its heading, the command that makes it, and what must be known to read it."""
    parts = [f"## {document['title']}", f"`{command}`"]
    if document["note"]:
        parts.append(document["note"].strip())
    for block in document["blocks"]:
        heads, rows = cells(document, block)
        parts += [f"**{plain(heading(document, block))}**", table(heads, rows)]
    parts.append(plain(legend(document)))
    if document["paper"]:
        lines = [f"- {plain(name)}: " + _published(values) for name, values in document["paper"].items()]
        parts += ["What the paper states (other films, other base; not comparable):", "\n".join(lines)]
    parts += [f"- {plain(name)}: {note}" for name, note in document["notes"].items()]
    if "environment" in document:
        parts.append(_machine(document["environment"]))
    return "\n\n".join(parts) + "\n"


def _machine(environment: Mapping[str, Any]) -> str:
    vnni = {True: "with VNNI", False: "without VNNI", None: "VNNI unknown"}[environment["vnni"]]
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items() if number)
    return f"Made on {environment['cpu']}, {environment['cores']} cores, {vnni}; {versions}."


def legend(document: Mapping[str, Any]) -> str:
    """Return the sentence that says what the columns mean."""
    return (
        "Scores of saved masks on each film's own grid: mean ± SD [95 % bootstrap interval, patients drawn; "
        "none for fewer than 8 patients]. A failed film has the worst score; the interval is then that of "
        "the mean of the films with a mask (“kept”). "
        f"Differences are from “{document['reference']}” on films "
        "on which neither failed, with the same prompt; p: Wilcoxon's signed-rank test, corrected by "
        f"Holm; non-inferior: worse by less than {document['margin']:g} Dice (one-sided 0.025), a margin "
        "fixed in the recipe, and no film failed that the reference did not. "
        "A dash: not trained, or not defined."
    )


def published(document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the rows of text of what the paper states, with a dash where it states nothing."""
    paper = document["paper"]
    keys = list(dict.fromkeys(key for values in paper.values() for key in values))
    heads = ["Method", *(_PAPER_HEADS.get(key, key) for key in keys)]
    rows = [
        [name, *(_stated(key, values[key]) if key in values else DASH for key in keys)]
        for name, values in paper.items()
    ]
    return heads, rows


def _stated(key: str, value: float) -> str:
    return f"{value:.{_digits(key)}f}" if key in _PAPER_HEADS else f"{value:g}"


def _published(values: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in values.items())
