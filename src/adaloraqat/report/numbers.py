"""How numbers are printed for a reader: one minus sign, one form of p-values, intervals and sizes."""

import re
from collections.abc import Sequence

DASH = "–"
"""Stands where there is no number."""


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
