"""A built table as LaTeX; the same cells as in CSV and Markdown."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adaloraqat.report.tables.formats import DIFFERENCE, cells, heading, legend

# graphicx's \resizebox knows the natural \width of what it holds: a narrow table keeps its size
_AT_MOST_THE_TEXT = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"
_METHOD = r"p{38mm}"


def to_latex(document: Mapping[str, Any]) -> str:
    """Return one `table*` a block, at most as wide as the text; needs the packages booktabs and graphicx.

    Scores stand above, their intervals on a line of their own, tests and costs below: side by side all would
    be too small to read on a printed page.
    """
    return "\n".join(_block(document, block) for block in document["blocks"])


def _block(document: Mapping[str, Any], block: Mapping[str, Any]) -> str:
    heads, rows = cells(document, block)
    table = [heads, *rows]
    cut = heads.index(DIFFERENCE)
    scores, others = [row[:cut] for row in table], [[row[0], *row[cut:]] for row in table]
    title = re.sub(r"^Table \d+: ", "", document["title"])  # LaTeX numbers it
    lines = [
        r"\begin{table*}[t]",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_tex(title)}: {_tex(heading(document, block))}. {_tex(legend(document))}}}",
        r"\par\smallskip",
        *_tabular(scores, _stacked),
        r"\par\medskip",
        *_tabular(others, _tex),
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _tabular(table: Sequence[Sequence[str]], cell: Callable[[str], str]) -> list[str]:
    heads, *rows = table
    return [
        _AT_MOST_THE_TEXT,
        rf"\begin{{tabular}}{{{_METHOD}{'r' * (len(heads) - 1)}}}",
        r"\toprule",
        _line(heads, cell),
        r"\midrule",
        *(_line(row, cell) for row in rows),
        r"\bottomrule",
        r"\end{tabular}}",
    ]


def _line(row: Sequence[str], cell: Callable[[str], str]) -> str:
    first, *others = row
    return " & ".join([r"\raggedright " + _tex(first), *map(cell, others)]) + r" \\"


def _stacked(text: str) -> str:
    """Return a cell whose interval, in brackets, stands below, smaller."""
    above, bracket, inside = text.partition(" [")
    if not bracket:
        return _tex(text)
    below = rf"{{\scriptsize [{_tex(inside)}}}"
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{_tex(above)}\\{below}\end{{tabular}}"


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$",
    "×": r"$\times$", "Δ": r"$\Delta$", "Λ": r"$\Lambda$", "λ": r"$\lambda$", "–": "--", "<": "$<$",
    ">": "$>$", "“": "``", "”": "''",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)
