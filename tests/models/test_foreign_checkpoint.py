"""A user's own checkpoint: refused with what to save instead, and what was said then loads."""

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adaloraqat.errors import CheckpointError
from adaloraqat.models.checkpoints import load_base


class OwnSettings:
    """A class of the user's own training script."""


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_base(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(path.name)
    return message


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 2020"])
@pytest.mark.parametrize("key", ["model", "net", "weights"])
def test_a_namespace_is_refused_and_the_remedy_works(
    key: str, zipped: bool, meta_state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"epoch": 7, "args": argparse.Namespace(lr=1e-4, more=argparse.Namespace(a=1)), key: meta_state}
    torch.save(own, tmp_path / "own.pth", _use_new_zipfile_serialization=zipped)
    message = refusal(tmp_path / "own.pth")
    assert "argparse.Namespace" in message
    follow(message, tmp_path, monkeypatch)


def test_weights_under_an_unknown_key_beside_scalars(
    meta_state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4}]}
    torch.save({"epoch": 3, "best": 0.97, "optimizer": optimizer, "net": meta_state}, tmp_path / "own.pth")
    message = refusal(tmp_path / "own.pth")
    assert "(epoch, best, optimizer)" in message
    follow(message, tmp_path, monkeypatch)


def follow(message: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the line of Python that the message gives, and load what it saved."""
    monkeypatch.chdir(folder)
    line = re.search(r"torch\.save\(.*?'weights\.pth'\)", message)
    assert line is not None
    exec(line.group(), {"torch": torch})
    load_base(folder / "weights.pth")


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        ({"epoch": 3, "best_dice": 0.97}, "(epoch, best_dice)"),
        ({"a": 1, "b": 2, "c": 3, "d": 4}, "(a, b, c, …)"),
        ({"best": np.float64(0.97)}, "numpy"),
        ({"settings": OwnSettings()}, "OwnSettings"),
        ({"args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
    ],
)
def test_what_lies_among_the_weights_is_named(
    beside: dict[str, Any], named: str, meta_state: dict[str, Any], tmp_path: Path
) -> None:
    torch.save({**meta_state, **beside}, tmp_path / "own.pth")
    message = refusal(tmp_path / "own.pth")
    assert named in message
    assert "torch.save(model.state_dict(), 'weights.pth')" in message


def test_a_whole_module(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "own.pth")
    message = refusal(tmp_path / "own.pth")
    assert "torch.nn.modules.linear.Linear" in message
    assert "torch.save(model.state_dict(), 'weights.pth')" in message
