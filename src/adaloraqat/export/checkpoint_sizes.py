"""What a published AdaLoRA-QAT checkpoint and its bundle weigh, and how the paper came to 2.24 times."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from adaloraqat.models.adalora_qat_checkpoint import AdaLoRAQATCheckpoint
from adaloraqat.models.sam import count_parameters
from adaloraqat.quantize.policy import POLICIES

PAPERS_RATIO = 2.24
"""arXiv 2604.01167: how many times smaller INT8 is."""

_FLOAT_BYTES = 4


def rounded_layers(model: nn.Module) -> list[str]:
    """Return the linear layers that AdaLoRA-QAT's published code rounds: 83 in SAM ViT-B."""
    described = POLICIES["reference"].describe(model)
    return [name for name, precision in described.items() if precision.startswith("int8")]


def papers_count(model: nn.Module, adapters: int) -> dict[str, Any]:
    """Count as the paper does: linear layers and adapters alone, biases among them, 4 bytes against 1.

    Args:
        model: the SAM, adapters merged.
        adapters: numbers in its adapters.

    Returns:
        `int8`, `qkv` and `adapters`: numbers; `times_smaller`: all at 4 bytes against `int8` at 1 byte.
    """
    int8 = _numbers(model, rounded_layers(model))
    qkv = _numbers(model, (name for name, _ in model.named_modules() if name.endswith(".attn.qkv")))
    before, after = _FLOAT_BYTES * (int8 + qkv + adapters), int8 + _FLOAT_BYTES * (qkv + adapters)
    return {"int8": int8, "qkv": qkv, "adapters": adapters, "times_smaller": before / after}


def sizes(checkpoint: AdaLoRAQATCheckpoint, file_bytes: int, bundle_bytes: int) -> dict[str, Any]:
    """Compare a bundle's files, in bytes, with the checkpoint's and with the merged model in FP32."""
    merged = _FLOAT_BYTES * count_parameters(checkpoint.model)["total"]
    return {
        "checkpoint_bytes": file_bytes,
        "merged_fp32_bytes": merged,
        "bundle_bytes": bundle_bytes,
        "times_smaller_than_checkpoint": file_bytes / bundle_bytes,
        "times_smaller_than_merged_fp32": merged / bundle_bytes,
        "paper": {
            "times_smaller": PAPERS_RATIO,
            "counted_so": papers_count(checkpoint.model, checkpoint.adapter_parameters),
        },
    }


def size_sentences(file: str, found: dict[str, Any]) -> list[str]:
    """Return what `sizes` found in words."""
    count = found["paper"]["counted_so"]
    floats = (count["qkv"] + count["adapters"]) / 1e6
    return [
        f"{file} is {_mb(found['checkpoint_bytes'])}; merged in FP32 the model is "
        f"{_mb(found['merged_fp32_bytes'])}; this bundle is {_mb(found['bundle_bytes'])}: "
        f"{found['times_smaller_than_checkpoint']:.2f} times smaller than the file, "
        f"{found['times_smaller_than_merged_fp32']:.2f} times smaller than the merged model",
        f"the paper's {PAPERS_RATIO} times counts linear layers and adapters alone, 4 bytes against 1: "
        f"here {count['int8'] / 1e6:.2f} M of them in INT8 and {floats:.2f} M in FP32 (qkv, adapters), "
        f"{count['times_smaller']:.4f} times",
    ]


def _numbers(model: nn.Module, layers: Iterable[str]) -> int:
    return sum(p.numel() for name in layers for p in model.get_submodule(name).parameters())


def _mb(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
