"""A table of methods: what a row holds, its cells of text, and the table as CSV, Markdown and LaTeX."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaloraqat.bundle import Bundle
from adaloraqat.errors import RecipeError
from adaloraqat.evaluate.rows import FilmRow
from adaloraqat.measure.film_scores import measure_label
from adaloraqat.report.text import (
    DASH,
    csv_text,
    markdown_table,
    p_value,
    plain,
    signed,
    tex,
    tex_stacked,
    tex_tabular,
    with_interval,
)

PROMPT_WORDS = {"no_box": "no box", "true_box": "box of the truth"}
DIFFERENCE = "Δ Dice [95 % CI]"
_COST_HEADS = {
    "parameters": "Parameters",
    "trainable": "Trainable",
    "megabytes": "File (MB)",
    "speed": "Speed (× reference)",
}
_PAPER_HEADS = {"dice": "Dice", "iou": "IoU", "nsd": "NSD", "hd95": "HD95 (px)"}


@dataclass(frozen=True)
class Method:
    """A row of a table with what was found or made for it.

    Attributes:
        name: as the table calls it.
        films: the scores, film by film; empty where there is nothing to score.
        bundle: what was scored; None for an empty row and for predictions made elsewhere.
        trainable: how many numbers the scored stage trained, None where unknown.
        run: the folder of the run it comes from.
        recipe: the file of the training recipe it comes from.
    """

    name: str
    films: tuple[FilmRow, ...] = field(default=(), repr=False)
    bundle: Bundle | None = None
    trainable: int | None = None
    run: Path | None = None
    recipe: Path | None = None

    def scored(self, prompt: str) -> list[FilmRow]:
        """Return the scores with one prompt."""
        return [film for film in self.films if film.prompt == prompt]


def file_name(name: str) -> str:
    """Return a row's name as a folder name that no other row of a table shares.

    Raises:
        RecipeError: nothing of the name is left.
    """
    plain_text = "-".join("".join(c.lower() if c.isalnum() else " " for c in name).split())
    if not plain_text:
        raise RecipeError(f"The row name {name!r} has no letter or digit; give it a name.")
    return f"{plain_text}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def cells(document: Mapping[str, Any], block: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the rows of text of one block (one source, one prompt) of table.json.

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
    counts = [DASH if row[key] is None else str(row[key]) for key in ("films", "failed")]
    return [
        row["name"], *counts, *scores, *test,
        *(_cost(column, document["costs"][row["name"]]) for column in costs),
    ]  # fmt: skip


def _score(measure: str, cell: Mapping[str, Any] | None) -> str:
    if not cell or cell["mean"] is None:
        return DASH
    form = f".{_digits(measure)}f"
    interval, text = cell["interval"], f"{cell['mean']:{form}} ± {cell['sd']:{form}}"
    if interval is None and cell["kept_interval"]:  # without the lost films
        text, interval = f"{text}; kept {cell['kept_mean']:{form}}", cell["kept_interval"]
    return with_interval(text, interval, form)


def _digits(measure: str) -> int:
    return 2 if measure in ("hd95", "assd") else 4


def _test(test: Mapping[str, Any] | None) -> list[str]:
    if test is None or test["mean_difference"] is None:
        return [DASH] * 4
    difference = with_interval(signed(test["mean_difference"]), test["interval"], "+.4f")
    effect = DASH if test["effect_size"] is None else signed(test["effect_size"], 2)
    noninferior = {True: "yes", False: "not shown", None: DASH}[test["noninferior"]]
    return [difference, p_value(test["holm_p"]), effect, noninferior]


def _cost(column: str, costs: Mapping[str, Any]) -> str:
    value = costs["bytes" if column == "megabytes" else column]
    if value is None:
        return DASH
    if column == "megabytes":
        return f"{value / 1e6:.2f}"
    return f"{value:.2f}" if column == "speed" else f"{value:,}"


def heading(document: Mapping[str, Any], block: Mapping[str, Any]) -> str:
    """Say what a block's films and prompt are."""
    kind = "phantom films" if document["phantoms"] else "films"
    source = "all sources" if block["source"] == "all" else block["source"]
    return f"{source}, {document['split']} {kind}, {PROMPT_WORDS[block['prompt']]}"


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


def to_csv(document: Mapping[str, Any]) -> str:
    """Return every block below one head, with source and prompt as columns."""
    heads: list[str] = []
    rows: list[list[str]] = []
    for block in document["blocks"]:
        heads, found = cells(document, {**block, "unit": ""})
        rows += [[block["source"], block["prompt"], block["unit"], *row] for row in found]
    return csv_text(["Source", "Prompt", "Unit", *heads], rows) if heads else ""


def to_markdown(document: Mapping[str, Any], command: str) -> str:
    """Return the table with its heading, the command that makes it, and what must be known to read it."""
    parts = [f"## {document['title']}", f"`{command}`"]
    if document["note"]:
        parts.append(document["note"].strip())
    for block in document["blocks"]:
        parts += [f"**{plain(heading(document, block))}**", markdown_table(*cells(document, block))]
    parts.append(plain(legend(document)))
    if document["paper"]:
        lines = [
            f"- {plain(name)}: " + ", ".join(f"{key} {value:g}" for key, value in values.items())
            for name, values in document["paper"].items()
        ]
        parts += ["What the paper states (other films, other base; not comparable):", "\n".join(lines)]
    parts += [f"- {plain(name)}: {note}" for name, note in document["notes"].items()]
    if "environment" in document:
        parts.append(_machine(document["environment"]))
    return "\n\n".join(parts) + "\n"


def _machine(environment: Mapping[str, Any]) -> str:
    vnni = {True: "with VNNI", False: "without VNNI", None: "VNNI unknown"}[environment["vnni"]]
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items() if number)
    return f"Made on {environment['cpu']}, {environment['cores']} cores, {vnni}; {versions}."


def to_latex(document: Mapping[str, Any]) -> str:
    """Return one `table*` a block, at most as wide as the text; needs the packages booktabs and graphicx.

    Scores stand above, their intervals on a line of their own, tests and costs below: side by side all would
    be too small to read on a printed page.
    """
    return "\n".join(_latex_block(document, block) for block in document["blocks"])


def _latex_block(document: Mapping[str, Any], block: Mapping[str, Any]) -> str:
    heads, rows = cells(document, block)
    table = [heads, *rows]
    cut = heads.index(DIFFERENCE)
    title = re.sub(r"^Table \d+: ", "", document["title"])  # LaTeX numbers it
    lines = [
        r"\begin{table*}[t]",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{tex(title)}: {tex(heading(document, block))}. {tex(legend(document))}}}",
        r"\par\smallskip",
        *tex_tabular([row[:cut] for row in table], tex_stacked),
        r"\par\medskip",
        *tex_tabular([[row[0], *row[cut:]] for row in table]),
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"
