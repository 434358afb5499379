"""Options and arguments that mean the same in every command that has them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.errors import AdaloraqatError

MOST_THREADS = max(256, os.cpu_count() or 1)
"""Threads beyond the processors only wait for one another, and very many stop the computer."""

Threads = Annotated[
    int | None, typer.Option(min=1, max=MOST_THREADS, help="CPU threads; default: the engine's.")
]

TrainingThreads = Annotated[
    int | None, typer.Option(min=1, max=MOST_THREADS, help="CPU threads; equal numbers need equal threads.")
]


def named(given: str | Path) -> Path:
    """Return the path of an argument; an empty one, of a variable that is not set, would be this folder.

    Raises:
        AdaloraqatError: it is empty.
    """
    if given == "":
        raise AdaloraqatError("An empty name was given: name a file or a folder (. is the one you are in).")
    return Path(given)
