"""Options and arguments that mean the same in every command that has them, and what they set up."""

import logging
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
