"""How many parameters each precision of a policy holds."""

import torch
from torch import nn

from adaloraqat.quantize.policy import PrecisionPolicy, weighted_names


def per_precision(model: nn.Module, policy: PrecisionPolicy | None) -> dict[str, int]:
    """Return {precision: parameters} of a model, prepared or not; what no line names is float32.

    Adapters count apart from the matrix they adapt, as float32: exporting folds them into it.
    """
    total = sum(parameter.numel() for parameter in model.parameters())
    counts: dict[str, int] = {}
    for name in weighted_names(model):
        precision = policy.precision_of(name) if policy is not None else "float32"
        counts[precision] = counts.get(precision, 0) + _size(model, name)
    counts["float32"] = counts.get("float32", 0) + total - sum(counts.values())
    return counts


def _size(model: nn.Module, name: str) -> int:
    owner, _, attribute = name.rpartition(".")
    found = getattr(model.get_submodule(owner), attribute)
    if isinstance(found, torch.Tensor):  # a position table; stored in 16 bits it is no parameter any more
        return found.numel()
    weight = found.base.weight if hasattr(found, "base") else found.weight
    return int(weight.numel())
