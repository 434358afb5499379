"""How a long task says how far it is: the two callbacks that functions of every room take.

A function that works through items takes `progress`, which wraps them: rich's and tqdm's way. One that has
something to say takes `report`, which receives a line of text.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")

Report = Callable[[str], None]
"""Receives one line of text at a time."""


class Progress(Protocol):
    """Gives the items one by one and shows how many are done."""

    def __call__(self, items: Sequence[Item], what: str, /) -> Iterable[Item]:
        """Return `items`, counted; `what` is their plural noun, such as "films"."""
        ...


def no_progress(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Return the items as they are, and show nothing."""
    return items
