"""Plain LoRA (Hu et al. 2021) by peft on every encoder block's fused qkv: the paper's baseline.

Unlike AdaLoRA's adapters (`adalora.py`) one matrix pair serves q, k and v together, and no rank changes.
"""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from adaloraqat.errors import RecipeError
from adaloraqat.lowrank.peft_format import DECODER, TARGET, write_adapter


def add_lora(model: nn.Module, rank: int, alpha: int, seed: int) -> None:
    """Put a LoRA of `rank` on every encoder block's fused qkv, in place, with ΔW = 0.

    ΔW = (alpha / rank) · B · A for the whole (3d, in) weight. A is drawn from `seed`, B is zero; torch's
    global random state stays as it is.

    Raises:
        RecipeError: the model has no fused qkv.
    """
    if not any(name.endswith(f".{TARGET}") for name, _ in model.named_modules()):
        raise RecipeError("LoRA adapts an encoder's qkv, and this network has none: choose a SAM.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=[TARGET], lora_dropout=0.0, bias="none")
        inject_adapter_in_model(config, model)


def lora_layers(model: nn.Module) -> dict[str, LoraLayer]:
    """Return the layers that carry a LoRA, by module name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


@torch.no_grad()
def merge_lora(model: nn.Module) -> None:
    """Replace every LoRA layer by a plain `nn.Linear` of weight W + ΔW, in place; without any, do nothing."""
    for name, layer in lora_layers(model).items():
        layer.merge(safe_merge=True)
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, layer.get_base_layer())


def save_lora(
    model: nn.Module, folder: str | Path, rank: int, alpha: int, *, decoder: bool, base: str | None = None
) -> None:
    """Write the LoRA as a folder that `peft.PeftModel.from_pretrained` loads onto a plain `SamModel`.

    Args:
        model: with LoRA layers.
        folder: made where it does not exist.
        rank: as given to `add_lora`.
        alpha: as given to `add_lora`.
        decoder: whether the trained mask decoder goes along as a module to save.
        base: name of the base weights; of a path only the last part is kept.

    Raises:
        OutputError: the folder cannot be written.
    """
    part = model.get_submodule(DECODER) if decoder else None
    settings = {"r": rank, "lora_alpha": alpha, "lora_dropout": 0.0}
    write_adapter(Path(folder), "LORA", get_peft_model_state_dict(model), settings, part, base)
