"""Text and tables as Markdown that shows what they say, whatever signs stand in the name of a model."""

import re
from collections.abc import Iterable, Sequence

# Only where Markdown would read the sign as one of its own, so that the text itself stays easy to read
_SIGN = re.compile(
    r"[\\`*|~]"
    r"|(?<!\w)_|_(?!\w)"  # within a word it is a letter
    r"|<(?=[A-Za-z/!?])"  # HTML, or an address
    r"|&(?=#?\w+;)"
    r"|\](?=[(\[:])"  # the end of a link's text
)


def plain(text: str) -> str:
    r"""Return one line of Markdown that shows `text` as it is.

    >>> plain("a|b *c* <i>"), plain("rotated_5 < 0.001 [1, 2]")
    ('a\\|b \\*c\\* \\<i>', 'rotated_5 < 0.001 [1, 2]')
    """
    return _SIGN.sub(r"\\\g<0>", " ".join(text.split()))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of plain text, its first column to the left and the others to the right."""
    rule = _line(["---", *["---:"] * (len(heads) - 1)])
    return "\n".join([_line(map(plain, heads)), rule, *(_line(map(plain, row)) for row in rows)])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
