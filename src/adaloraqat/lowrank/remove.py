"""Take pruned components out for good: from P, Λ and Q, and from what the optimiser remembers of them."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from adaloraqat.lowrank.adapters import adapters_of
from adaloraqat.lowrank.svd_adapter import SVDAdapter


@torch.no_grad()
def remove_pruned(model: nn.Module, optimizer: Optimizer | None = None) -> dict[str, int]:
    """Remove every masked component, in place; the model's output stays the same up to rounding.

    The parameters stay the same objects, only smaller, so the optimiser's groups and anything else that holds
    them remain valid. State tensors of a parameter's own shape (AdamW's `exp_avg` and `exp_avg_sq`, a
    momentum buffer) are cut the same way; the surviving components continue as if nothing had happened.
    Gradients of the adapters are dropped: call it between an optimiser step and the next backward pass.

    Returns:
        the rank of each matrix by name; 0 is possible.
    """
    adapters = adapters_of(model)
    for adapter in adapters.values():
        kept = adapter.mask.nonzero().flatten()  # (rank,)
        if kept.numel() < adapter.capacity:
            _keep(adapter, kept, optimizer)
    return {name: adapter.capacity for name, adapter in adapters.items()}


def _keep(adapter: SVDAdapter, kept: Tensor, optimizer: Optimizer | None) -> None:
    for parameter, dimension in ((adapter.P, 1), (adapter.singular_values, 0), (adapter.Q, 0)):
        if optimizer is not None:
            _cut_state(optimizer, parameter, dimension, kept)
        parameter.grad = None
        parameter.data = parameter.data.index_select(dimension, kept)
    adapter.mask = adapter.mask.index_select(0, kept)


def _cut_state(optimizer: Optimizer, parameter: nn.Parameter, dimension: int, kept: Tensor) -> None:
    if parameter not in optimizer.state:
        return
    state = optimizer.state[parameter]
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            state[key] = value.index_select(dimension, kept)
