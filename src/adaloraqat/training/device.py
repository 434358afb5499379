"""Where a training computes. Films, batches, checkpoints and finished models stay on the CPU's side."""

from typing import Literal

import torch
from torch import nn

from adaloraqat.errors import RecipeError

DeviceChoice = Literal["cpu", "cuda", "auto"]


def chosen_device(choice: DeviceChoice) -> torch.device:
    """Return the device of a recipe; `auto` is the first GPU, or the CPU where there is none.

    Raises:
        RecipeError: a GPU is asked for and there is none that torch can use.
    """
    if choice == "cpu" or (choice == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RecipeError(
            "The recipe asks for device: cuda but torch finds no GPU here; use device: auto or cpu, or "
            "install the CUDA build of torch."
        )
    return torch.device("cuda")


def device_of(model: nn.Module) -> torch.device:
    """Return where the parameters of `model` lie."""
    return next(model.parameters()).device
