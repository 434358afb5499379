"""Options and choices that mean the same in every command that has them, and what they set up."""

import logging
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.errors import AdaloraqatError

MOST_THREADS = max(256, os.cpu_count() or 1)
"""Threads beyond the processors only wait for one another, and very many stop the computer."""


class EngineName(StrEnum):
    """Runtimes with their devices; a runtime alone means the CPU (`bundle.engine.ENGINES`)."""

    onnxruntime = "onnxruntime"
    onnxruntime_cpu = "onnxruntime:cpu"
    onnxruntime_cuda = "onnxruntime:cuda"
    onnxruntime_directml = "onnxruntime:directml"
    onnxruntime_coreml = "onnxruntime:coreml"
    openvino = "openvino"
    openvino_cpu = "openvino:cpu"
    openvino_gpu = "openvino:gpu"


class Split(StrEnum):
    """The splits of a manifest, and all of them together."""

    train = "train"
    val = "val"
    test = "test"
    all = "all"


class Policy(StrEnum):
    """The shipped precision policies (`quantize.policy.POLICIES`)."""

    fp32 = "fp32"
    paper = "paper"
    int8 = "int8"
    qmedsam = "qmedsam"
    w8 = "w8"
    w8a8 = "w8a8"
    reference = "reference"
    reference_weights = "reference-weights"


class Precision(StrEnum):
    """What `export --precision` takes: a policy, or the one that the sensitivity of the layers proposes."""

    fp32 = "fp32"
    paper = "paper"
    int8 = "int8"
    qmedsam = "qmedsam"
    w8 = "w8"
    w8a8 = "w8a8"
    reference = "reference"
    reference_weights = "reference-weights"
    auto = "auto"


def complete_model(incomplete: str) -> list[str]:
    """Return the shipped models whose names begin so, for the shell."""
    from adaloraqat.bundle.shipped import shipped_names

    return [name for name in shipped_names() if name.startswith(incomplete)]


def one_of(choices: type[StrEnum]) -> str:
    """Return the choices for a help text, where they are too many to stand in the first column."""
    return ", ".join(choices)


Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_THREADS,
        metavar="N",
        help="CPU threads to use.",
        show_default="the engine decides",
    ),
]

Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_THREADS,
        metavar="N",
        help="Processes to use, each with one thread unless --threads is given.",
    ),
]

Engine = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        metavar="ENGINE",
        help=f"Runtime, with its device if that is not the CPU: {one_of(EngineName)}.",
    ),
]

ScoringEngine = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        metavar="ENGINE",
        help=f"Engine for bundles (runs use PyTorch): {one_of(EngineName)}.",
    ),
]

TrainingThreads = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_THREADS,
        metavar="N",
        help="CPU threads to use; the same number repeats results exactly.",
        show_default="PyTorch decides",
    ),
]

ScoredSplit = Annotated[Split, typer.Option("--split", help="Films to score.")]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


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


def named(given: str | Path) -> Path:
    """Return the path of an argument; an empty one, of a variable that is not set, would be this folder.

    Raises:
        AdaloraqatError: it is empty.
    """
    if given == "":
        raise AdaloraqatError("An empty path was given: name a file or a folder (. is the current folder).")
    return Path(given)


def set_up_torch(threads: int | None = None) -> None:
    """Silence the libraries' chatter, never ask a network for weights, and set the number of CPU threads."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    if threads is not None:
        torch.set_num_threads(threads)
