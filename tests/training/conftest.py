"""Phantom films of 64 px, and recipes that train in about a second."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from adaloraqat.datasets.phantom import write_phantoms

ARCHITECTURE = {
    "image_size": 32, "patch_size": 8, "hidden_size": 32, "num_layers": 1, "num_heads": 2, "window_size": 4,
    "global_attention_layers": [0], "use_rel_pos": False, "channels": 1, "prompt_dim": 16,
    "decoder_mlp_dim": 32, "decoder_layers": 1, "decoder_heads": 2, "mask_input_channels": 4,
    "iou_head_hidden_dim": 16,
}  # fmt: skip

STAGE_1: dict[str, Any] = {
    "name": "stage1",
    "kind": "adalora",
    "r_max": 4,
    "r_target": 2,
    "prune_at": [1, 2],
    "schedule": {"epochs": 4, "batch_size": 2, "steps_per_epoch": 2},
    "learning_rates": {"adapters": 1e-3, "singular_values": 1e-2, "decoder": 2e-3},
    "losses": {"bce": 0.0},
    "augmentation": 0.5,
}
STAGE_2: dict[str, Any] = {
    "name": "stage2",
    "kind": "quantize",
    "policy": "int8",
    "train": "all",
    "calibration_films": 4,
    "schedule": {"epochs": 2, "batch_size": 2, "steps_per_epoch": 2},
    "learning_rates": {"encoder": 4e-4, "adapters": 1e-4, "singular_values": 1e-3, "decoder": 4e-4},
    "losses": {"bce": 0.0},
    "augmentation": 0.5,
}


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve phantom films with splits."""
    folder = tmp_path_factory.mktemp("phantoms")
    entries = write_phantoms(folder, 12, seed=3, size=64)
    assert {entry.split for entry in entries} == {"train", "val", "test"}
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def both_stages() -> Callable[[], dict[str, Any]]:
    """Make a recipe, as a dictionary of its own, that runs both stages of the paper on random weights.

    Every epoch betters the one before (with this seed and the Dice loss alone), so that best weights are
    written in both stages.
    """
    stages = [STAGE_1, STAGE_2]
    return lambda: deepcopy(
        {"name": "small", "seed": 2, "base": {"architecture": ARCHITECTURE}, "stages": stages}
    )
