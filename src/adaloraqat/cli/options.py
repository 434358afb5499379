"""Options and arguments that mean the same in every command that has them, and what they set up."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.errors import AdaloraqatError

MOST_THREADS = max(256, os.cpu_count() or 1)
"""Threads beyond the processors only wait for one another, and very many stop the computer."""

Threads = Annotated[
    int | None, typer.Option(min=1, max=MOST_THREADS, help="CPU threads; default: the engine's.")
]

Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_THREADS,
        metavar="N",
        help="Processes that work side by side, of one thread each unless --threads says more.",
    ),
]

Engine = Annotated[
    str, typer.Option(help="onnxruntime[:cuda|:directml|:coreml] or openvino[:gpu]; alone: on the CPU.")
]

TrainingThreads = Annotated[
    int | None, typer.Option(min=1, max=MOST_THREADS, help="CPU threads; equal numbers need equal threads.")
]


Point = tuple[float, float, int]
"""x and y in pixels of the film, and what the point says: 1 on what is wanted, 0 off it."""

_SEVERAL = {"--point": 3}
"""Options of several values that may be repeated, which Typer cannot declare."""


def joined(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command with the values of an option of `_SEVERAL` as one argument."""
    left, found = list(arguments), []
    while left:
        argument = left.pop(0)
        found.append(argument)
        count = _SEVERAL.get(argument)
        if argument == "--":
            return found + left
        if count is not None and left:
            found.append(" ".join(left[:count]))
            del left[:count]
    return found


def point(given: str) -> Point:
    """Return the point of `X Y LABEL`.

    Raises:
        AdaloraqatError: it is none.
    """
    try:
        x, y, label = given.split()
        if label in ("0", "1"):
            return float(x), float(y), int(label)
    except ValueError:
        pass
    raise AdaloraqatError(
        f"--point {given} is not X Y LABEL: give a pixel of the film, and 1 where it lies on what is wanted, "
        "0 where it lies off it."
    )


def named(given: str | Path) -> Path:
    """Return the path of an argument; an empty one, of a variable that is not set, would be this folder.

    Raises:
        AdaloraqatError: it is empty.
    """
    if given == "":
        raise AdaloraqatError("An empty name was given: name a file or a folder (. is the one you are in).")
    return Path(given)


def set_up_torch(threads: int | None = None) -> None:
    """Silence the libraries' chatter, never ask a network for weights, and set the number of CPU threads."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    if threads is not None:
        torch.set_num_threads(threads)
