"""Tensors and a JSON document in one safetensors file: written atomically, read without running any code."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from adaloraqat.errors import CheckpointError
from adaloraqat.files import atomic_path


def save_tensors(path: Path, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
    """Write named tensors with `document` as the file's metadata.

    Tensors that share memory (SAM ties its Fourier features) are written once per name, because safetensors
    refuses aliases.

    Raises:
        OutputError: the file cannot be written.
    """
    separate = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"document": json.dumps(document, sort_keys=True)}
    with atomic_path(path) as temporary:
        try:
            save_file(separate, temporary, metadata=metadata)
        except SafetensorError as error:
            raise _as_os_error(error) from error


def _as_os_error(error: SafetensorError) -> OSError:
    """Return what safetensors says in words ("os error 28") as the OSError that it was."""
    code = re.search(r"os error (\d+)", str(error))
    return OSError(int(code[1]), os.strerror(int(code[1]))) if code else OSError(str(error))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what `save_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of ours.
    """
    with _opened(path) as (stream, document):
        return {name: stream.get_tensor(name) for name in stream.keys()}, document  # noqa: SIM118


def load_document(path: Path) -> dict[str, Any]:
    """Return the document alone of what `save_tensors` wrote; the tensors stay on the disk.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of ours.
    """
    with _opened(path) as (_, document):
        return document


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    try:
        with safe_open(path, framework="pt") as stream:
            yield stream, json.loads((stream.metadata() or {})["document"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path.name} is missing or damaged; train again into a new folder, or restore it from a copy."
        ) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: dict[int, str]) -> dict[str, Tensor]:
    """Flatten an optimiser's state into tensors named `<parameter>|<entry>`; `names` maps id(parameter)."""
    return {
        f"{names[id(parameter)]}|{entry}": value
        for parameter, state in optimizer.state.items()
        for entry, value in state.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], parameters: dict[str, nn.Parameter]
) -> None:
    """Put back what `optimizer_tensors` gave."""
    for key, value in tensors.items():
        name, entry = key.rsplit("|", 1)
        parameter = parameters[name]
        same = value.shape == parameter.shape  # AdamW's step count stays on the CPU
        optimizer.state[parameter][entry] = value.to(parameter.device, copy=True) if same else value.clone()
