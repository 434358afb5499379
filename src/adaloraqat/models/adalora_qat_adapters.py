"""The adapters of a published AdaLoRA-QAT checkpoint: what they are multiplied by, and their merging."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.models.adalora_qat_naming import PROJECTIONS, Adapters, adapters_alone
from adaloraqat.models.checkpoint_files import load_pickled

ALONE = "adalora_state_dict"
"""The key by which a file of adapters alone is known."""

PUBLISHED = (32.0, 32)
"""alpha and target_rank of the published script; their quotient is 1."""


@dataclass(frozen=True)
class Scaling:
    """What ΔW is multiplied by: alpha / target_rank, and where the two numbers come from."""

    alpha: float
    target_rank: int
    source: str

    @property
    def factor(self) -> float:
        """What ΔW is multiplied by."""
        return self.alpha / self.target_rank


def scaling_of(alpha: float | None, target_rank: int | None) -> Scaling | None:
    """Return the scaling that a person asked for; None where neither number was given.

    Raises:
        RecipeError: one of the two is missing, or they give no positive number.
    """
    if alpha is None and target_rank is None:
        return None
    if alpha is None or target_rank is None:
        raise RecipeError(
            "The scaling is alpha / target_rank: give both --alpha and --target-rank, or neither."
        )
    if not (math.isfinite(alpha) and alpha > 0 and target_rank >= 1):
        raise RecipeError(
            f"The scaling {alpha:g} / {target_rank} is not positive: give alpha > 0, target rank > 0."
        )
    return Scaling(float(alpha), int(target_rank), "given")


def scaling_in(content: Mapping[Any, Any], source: str) -> Scaling | None:
    """Return the scaling that a file of adapters alone states, called `source`; None where it has none."""
    alpha, rank = content.get("alpha"), content.get("target_rank")
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (alpha, rank))
    if not numbers or not (math.isfinite(alpha) and alpha > 0 and rank >= 1):  # type: ignore[arg-type, operator]
        return None
    return Scaling(float(alpha), int(rank), source)  # type: ignore[arg-type]


def scaling_beside(source: Path, adapters: Adapters, notices: list[str]) -> Scaling | None:
    """Return the scaling that a file of the same adapters beside `source` holds; note others."""
    others: list[str] = []
    for path in sorted(source.parent.glob("best_adalora_*.pth")):
        try:
            content = load_pickled(path)
            if not isinstance(content, dict) or ALONE not in content:
                continue
            same = _same(adapters_alone(content, path.name), adapters)
        except (CheckpointError, OSError):
            continue  # it is not the file that was asked for
        scaling = scaling_in(content, f"read from {path.name} beside it")
        if same and scaling:
            return scaling
        others.append(path.name)
    if others:
        notices.append(f"{' and '.join(others)} beside it: other adapters, or no scaling, so it is not used.")
    return None


def _same(one: Adapters, other: Adapters) -> bool:
    return one.keys() == other.keys() and all(
        one[block][part].shape == tensor.shape and torch.equal(one[block][part].double(), tensor.double())
        for block, adapter in other.items()
        for part, tensor in adapter.items()
    )


def merged_weight(
    weight: Tensor, adapter: Mapping[str, Tensor], factor: float, where: str, file: str
) -> Tensor:
    """Return W + factor · P diag(Λ · mask) Q on the q, k and v thirds, (3d, in) float32, added up in float64.

    Args:
        weight: (3d, in), the rows of q, then of k, then of v.
        adapter: `ADAPTER_TENSORS`.
        factor: alpha / target_rank.
        where: the layer's name for messages.
        file: the file's name for messages.

    Raises:
        CheckpointError: parts that do not fit together, or no plain floating-point numbers.
    """
    if weight.ndim != 2 or weight.shape[0] % 3:
        raise CheckpointError(
            f"{file} holds {where} with shape {tuple(weight.shape)}, which is no fused qkv."
        )
    rows = weight.shape[0] // 3
    merged = weight.double()
    for place, name in enumerate(PROJECTIONS):
        left, values, right = (
            _float(adapter[f"{part}_{name}"], where, file) for part in ("P", "Lambda", "Q")
        )
        mask = _mask(adapter[f"mask_{name}"], where, file)
        rank = values.numel()
        wanted = [(rows, rank), (rank,), (rank, weight.shape[1]), (rank,)]
        shapes = [tuple(part.shape) for part in (left, values, right, mask)]
        if shapes != wanted:
            raise CheckpointError(
                f"{file} holds P, Lambda, Q and mask of {name} in {where} with shapes "
                f"{', '.join(map(str, shapes))} where {', '.join(map(str, wanted))} belong: fetch it anew."
            )
        merged[place * rows : (place + 1) * rows] += factor * (left * (values * mask)) @ right
    return merged.float()


def _float(tensor: Tensor, where: str, file: str) -> Tensor:
    if not tensor.is_floating_point() or tensor.layout != torch.strided:
        raise CheckpointError(
            f"{file} holds an adapter in {where} as {tensor.dtype}, not as plain floating-point numbers: "
            "give the file as the authors' code writes it."
        )
    return tensor.double()


def _mask(tensor: Tensor, where: str, file: str) -> Tensor:
    mask = tensor.double()
    if not ((mask == 0) | (mask == 1)).all():
        raise CheckpointError(f"{file} holds a mask in {where} that is not true or false: fetch it anew.")
    return mask


def kept_ranks(adapters: Adapters) -> dict[str, int]:
    """Return {adapted projection: directions that its mask keeps}, named like an adapter here."""
    return {
        f"vision_encoder.layers.{block}.attn.qkv.{name}": int(adapter[f"mask_{name}"].sum())
        for block, adapter in adapters.items()
        for name in PROJECTIONS
    }


def count_parameters(adapters: Adapters) -> int:
    """Count the numbers in all P, Λ and Q, pruned directions included."""
    return sum(
        adapter[f"{part}_{name}"].numel()
        for adapter in adapters.values()
        for part in ("P", "Lambda", "Q")
        for name in PROJECTIONS
    )
