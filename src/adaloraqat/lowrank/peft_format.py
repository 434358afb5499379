"""Write adapters as a folder that `peft.PeftModel.from_pretrained` loads onto a plain `SamModel`.

peft knows one triplet per module, and SAM's q, k and v are one module. The three adapters are therefore
stored as one of rank R = r_q + r_k + r_v: `lora_A` stacks their Q, `lora_E` their Λ, and `lora_B` holds each
P in the rows of its own projection and zeros elsewhere, so that B · diag(E) · A is the stacked ΔW. All
modules are padded with zero components to a common R (peft's `init_r`); that is simpler than its
`rank_pattern` and changes nothing.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from adaloraqat.errors import OutputError
from adaloraqat.files import atomic_path, write_json
from adaloraqat.lowrank.adalora import adapted_layers
from adaloraqat.lowrank.adalora_layer import PROJECTIONS, AdaptedQKV

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
DECODER = "mask_decoder"
TARGET = "qkv"


def save_peft(model: nn.Module, folder: str | Path, base: str | None = None) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors` of an adapted `SamModel` into `folder`.

    Only unmasked components are written; the mask decoder goes along as a module to save.

    Args:
        model: a `SamModel` with adapters, in full precision.
        folder: made where it does not exist.
        base: name of the base weights for `base_model_name_or_path`; of a path only the last part is kept.

    Raises:
        ValueError: the model has no adapters.
        OutputError: the folder cannot be written.
    """
    layers = adapted_layers(model)
    if not layers:
        raise ValueError("the model has no adapters to save: call add_adapters first")
    ranks = [sum(qkv.adapter(projection).rank for projection in PROJECTIONS) for qkv in layers.values()]
    rank = max(1, *ranks)
    tensors = {
        f"{name}.{key}": value for name, qkv in layers.items() for key, value in _triplet(qkv, rank).items()
    }
    settings = {
        "init_r": rank,
        "target_r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "total_step": 1,  # peft refuses a configuration without one; nothing is scheduled any more
    }
    write_adapter(Path(folder), "ADALORA", tensors, settings, model.get_submodule(DECODER), base)


def write_adapter(
    folder: Path,
    peft_type: str,
    tensors: dict[str, Tensor],
    settings: dict[str, Any],
    decoder: nn.Module | None,
    base: str | None,
) -> None:
    """Write adapters of any type of peft's on every `qkv`.

    Neither file appears half written, and the configuration, without which peft loads nothing, appears last:
    a folder whose writing was interrupted is refused instead of being read wrongly.

    Args:
        folder: made where it does not exist.
        peft_type: what peft calls the type.
        tensors: of the adapters, by name within the model.
        settings: fields of that type's configuration that differ from its defaults.
        decoder: the mask decoder, to go along as a module to save.
        base: name of the base weights; of an absolute path only the last part is kept.

    Raises:
        OutputError: the folder cannot be written.
    """
    if decoder is not None:
        tensors = tensors | {f"{DECODER}.{key}": value for key, value in decoder.state_dict().items()}
    ready = {
        f"base_model.model.{key}": value.detach().cpu().contiguous().clone() for key, value in tensors.items()
    }
    _remove(folder / CONFIG_NAME)
    with atomic_path(folder / WEIGHTS_NAME) as temporary:
        temporary.write_bytes(save(ready, metadata={"format": "pt"}))
    document = {
        "peft_type": peft_type,
        "task_type": None,
        "base_model_name_or_path": Path(base).name if base and Path(base).is_absolute() else base,
        "inference_mode": True,
        "target_modules": [TARGET],
        "modules_to_save": [DECODER] if decoder is not None else None,
        **settings,
        "bias": "none",
    }
    write_json(folder / CONFIG_NAME, document)


@torch.no_grad()
def _triplet(qkv: AdaptedQKV, rank: int) -> dict[str, Tensor]:
    """lora_A (R, in), lora_B (3d, R), lora_E (R, 1) of one fused projection, padded with zeros to `rank`."""
    weight = qkv.base.weight
    right = weight.new_zeros(rank, qkv.in_features)
    lefts = [weight.new_zeros(qkv.out_features // len(PROJECTIONS), rank) for _ in PROJECTIONS]
    values = weight.new_zeros(rank, 1)
    start = 0
    for left, projection in zip(lefts, PROJECTIONS, strict=True):
        adapter = qkv.adapter(projection)
        kept = adapter.mask.nonzero().flatten()
        columns = slice(start, start + kept.numel())
        right[columns] = adapter.Q[kept]
        left[:, columns] = adapter.P[:, kept]
        # peft multiplies ΔW by lora_alpha / (init_r + 1e-5), here R / (R + 1e-5): undo it beforehand.
        values[columns, 0] = adapter.singular_values[kept] * ((rank + 1e-5) / rank)
        start = columns.stop
    return {"lora_A": right, "lora_B": qkv.fuse(lefts), "lora_E": values}


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path.name} cannot be replaced: choose another output folder.") from error
