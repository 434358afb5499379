"""How text, numbers and tables are printed for a reader, whatever signs stand in a name.

Numbers have one minus sign, one form of p-values, intervals and sizes; tables are CSV, Markdown or LaTeX.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

DASH = "–"
"""Stands where there is no number."""
# Only where Markdown would read the sign as one of its own, so that the text itself stays easy to read
_SIGN = re.compile(
    r"[\\`*|~]"
    r"|(?<!\w)_|_(?!\w)"  # within a word it is a letter
    r"|<(?=[A-Za-z/!?])"  # HTML, or an address
    r"|&(?=#?\w+;)"
    r"|\](?=[(\[:])"  # the end of a link's text
)
# graphicx's \resizebox knows the natural \width of what it holds: a narrow table keeps its size
_AT_MOST_THE_TEXT = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"
_FIRST_COLUMN = r"p{38mm}"
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$",
    "×": r"$\times$", "Δ": r"$\Delta$", "Λ": r"$\Lambda$", "λ": r"$\lambda$", "–": "--", "<": "$<$",
    ">": "$>$", "“": "``", "”": "''",
}  # fmt: skip


def true_minus(text: str) -> str:
    """Replace the hyphens before numbers by minus signs: a browser breaks a line behind a hyphen.

    >>> true_minus("-0.5 ± 1e-3, covid-19")
    '−0.5 ± 1e−3, covid-19'
    """
    return re.sub(r"(?<![\w.])-(?=\d)|(?<=e)-(?=\d)", "−", text)


def signed(value: float, digits: int = 4) -> str:
    """Return a difference with its sign.

    >>> signed(-0.01234), signed(0.5, 2)
    ('−0.0123', '+0.50')
    """
    return true_minus(f"{value:+.{digits}f}")


def with_interval(text: str, interval: Sequence[float] | None, form: str) -> str:
    """Return `text` with the two ends of an interval behind it, if there is one; `form` formats each.

    >>> with_interval("0.5", (0.25, 0.75), ".2f"), with_interval("−0.1", (-0.2, 0.0), "+.1f")
    ('0.5 [0.25, 0.75]', '−0.1 [−0.2, +0.0]')
    """
    if not interval:
        return text
    low, high = (true_minus(format(end, form)) for end in interval)
    return f"{text} [{low}, {high}]"


def p_value(p: float | None, equals: str = "") -> str:
    """Return a p-value to three digits, `equals` before it unless it is below them all.

    >>> p_value(0.0004, "= "), p_value(0.25, "= "), p_value(None)
    ('< 0.001', '= 0.250', '–')
    """
    if p is None:
        return DASH
    return "< 0.001" if p < 0.001 else f"{equals}{p:.3f}"


def megabytes(size: float | None) -> str:
    """Return bytes as a text, as `18.2 MB` (a million bytes each)."""
    if size is None:
        return "no file"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def csv_text(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as CSV; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heads, *rows])
    return text.getvalue()


def plain(text: str) -> str:
    r"""Return one line of Markdown that shows `text` as it is.

    >>> plain("a|b *c* <i>"), plain("rotated_5 < 0.001 [1, 2]")
    ('a\\|b \\*c\\* \\<i>', 'rotated_5 < 0.001 [1, 2]')
    """
    return _SIGN.sub(r"\\\g<0>", " ".join(text.split()))


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of plain text, its first column to the left and the others to the right."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    lines = [map(plain, heads), rule, *(map(plain, row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tex(text: str) -> str:
    r"""Return LaTeX that shows `text` as it is.

    >>> tex("a_b < 5 %")
    'a\\_b $<$ 5 \\%'
    """
    return "".join(_TEX.get(character, character) for character in text)


def tex_stacked(text: str) -> str:
    """Return a LaTeX cell whose interval, in brackets, stands below, smaller."""
    above, bracket, inside = text.partition(" [")
    if not bracket:
        return tex(text)
    below = rf"{{\scriptsize [{tex(inside)}}}"
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{tex(above)}\\{below}\end{{tabular}}"


def tex_tabular(table: Sequence[Sequence[str]], cell: Callable[[str], str] = tex) -> list[str]:
    """Return the lines of a `tabular`, its heads first, at most as wide as the text; `cell` writes a cell."""
    heads, *rows = (
        " & ".join([r"\raggedright " + tex(first), *map(cell, others)]) + r" \\" for first, *others in table
    )
    return [
        _AT_MOST_THE_TEXT,
        rf"\begin{{tabular}}{{{_FIRST_COLUMN}{'r' * (len(table[0]) - 1)}}}",
        r"\toprule",
        heads,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}}",
    ]
