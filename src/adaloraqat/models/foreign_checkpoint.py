"""What to tell someone whose own checkpoint holds more than weights: what is in the way and what to save.

Nothing of the file is run. The names of what `weights_only` refuses are read from the pickle without running
it; an `argparse.Namespace`, only a bag of values, is let through to see which key holds the weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_SHOWN = 3
_ALONE = "save the weights alone, torch.save(model.state_dict(), 'weights.pth'), and give that file"


def blocked_by(path: Path) -> str | None:
    """Return the sentence for a file that `weights_only` refuses; None: nothing better is known.

    Args:
        path: the file, damaged or not.
    """
    start = f"{path.name} holds more than weights"
    key = _key_beside_namespace(path)
    if key is not None:
        remedy = _save(key, path.name, ", weights_only=False")
        return f"{start} (argparse.Namespace): its weights are under {key!r}; {remedy}."
    try:
        unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # damaged, or PyTorch's format of before 2020
        return None
    if not unsafe:
        return None
    return f"{start} ({_listed(unsafe)}) and was not loaded, as that could run code: {_ALONE}."


def not_weights(content: Mapping[object, object], file: str) -> str:
    """Return the sentence for a dictionary that was read, and holds things that are no tensors."""
    key = _weights_key(content)
    others = [str(name) for name, value in content.items() if name != key and not isinstance(value, Tensor)]
    if key is not None:
        beside = f" ({_listed(others)})" if others else ""
        return f"{file} holds more than weights{beside}: its weights are under {key!r}; {_save(key, file)}."
    held = f"things that are no tensors ({_listed(others)})" if others else "tensors without names"
    return f"{file} holds {held}: {_ALONE}."


def _save(key: str, file: str, how: str = "") -> str:
    source = f"torch.load({file!r}{how})[{key!r}]"
    return f"where it is your own, save them alone, torch.save({source}, 'weights.pth'), and give that file"


def _key_beside_namespace(path: Path) -> str | None:
    """Return the key of the weights in a file that only an `argparse.Namespace` keeps from being read."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # something else is in the way
        return None
    return _weights_key(content) if isinstance(content, Mapping) else None


def _weights_key(content: Mapping[object, object]) -> str | None:
    """Return the key of the first dictionary of tensors by name; an optimiser's state is none."""
    return next((name for name, value in content.items() if isinstance(name, str) and _is_state(value)), None)


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
