"""How a long task says how far it is: the two callbacks that functions of every room take, and their pace.

A function that works through items takes `progress`, which wraps them: rich's and tqdm's way. One that has
something to say takes `report`, which receives a line of text.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")

Report = Callable[[str], None]
"""Receives one line of text at a time."""

PLAIN_EVERY_SECONDS = 30.0
"""How often a long phase says how far it is."""


class Progress(Protocol):
    """Gives the items one by one and shows how many are done."""

    def __call__(self, items: Sequence[Item], what: str, /) -> Iterable[Item]:
        """Return `items`, counted; `what` is their plural noun, such as "films"."""
        ...


def no_progress(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Return the items as they are, and show nothing."""
    return items


class Pace:
    """Reports a line now and then, so that no phase is silent for minutes."""

    def __init__(self, report: Report, every: float = PLAIN_EVERY_SECONDS) -> None:
        self._report, self._every, self._last = report, every, time.monotonic()

    def tell(self, line: str) -> None:
        """Report `line` if nothing was told for a while."""
        if time.monotonic() - self._last >= self._every:
            self._report(line)
            self._last = time.monotonic()
