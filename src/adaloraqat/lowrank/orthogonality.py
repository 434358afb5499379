"""What adapters are measured by: the orthogonality of their bases, and how far they have moved the model.

P and Q are kept orthogonal, so that ΔW = PΛQ stays a singular value decomposition and Λ stays comparable.

AdaLoRA (arXiv 2303.10512), equation 4: R(P, Q) = ‖PᵀP − I‖²_F + ‖QQᵀ − I‖²_F. AdaLoRA-QAT (arXiv 2604.01167)
adds 0.003 · L_ortho to the stage-1 loss; stage 2 has no such term.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from adaloraqat.lowrank.adalora import adapted_layers, adapters_of
from adaloraqat.lowrank.adalora_layer import PROJECTIONS, SVDAdapter

NOTICEABLE_UPDATE = 1e-3
"""Below this ‖ΔW‖/‖W‖ in every matrix the adapters have learned next to nothing."""


def exact(values: Tensor) -> Tensor:
    """Return `values` in float64, for sums that must not round.

    On the CPU where the device has no float64 (Apple's GPUs).
    """
    return (values.cpu() if values.device.type == "mps" else values).double()


def orthogonality(adapter: SVDAdapter) -> Tensor:
    """R(P, Q) of one adapter on its unmasked components, a scalar; 0 exactly when their bases are
    orthonormal.

    Masked components take part in no product: they neither add to R nor receive a gradient from it.
    """
    identity = torch.diag(adapter.mask)  # (r, r)
    left = adapter.P * adapter.mask  # (out, r)
    right = adapter.Q * adapter.mask[:, None]  # (r, in)
    return (left.T @ left - identity).square().sum() + (right @ right.T - identity).square().sum()


def orthogonality_loss(model: nn.Module) -> Tensor:
    """L_ortho: the mean of R(P, Q) over all adapted matrices, a scalar to be weighted by the caller.

    AdaLoRA writes a sum over matrices and the paper does not say which it means. The mean makes one weight
    serve encoders of any depth (for ViT-B the sum is 36 times this).

    Raises:
        ValueError: the model has no adapters, where a silent 0 would hide that the term is missing.
    """
    adapters = adapters_of(model).values()
    if not adapters:
        raise ValueError(
            "the model has no adapters, so it has no orthogonality loss: call add_adapters first"
        )
    return torch.stack([orthogonality(adapter) for adapter in adapters]).mean()


@torch.no_grad()
def relative_update(model: nn.Module) -> dict[str, float]:
    """Return ‖ΔW‖_F / ‖W‖_F by adapter name, W being the rows of q, k or v alone.

    Where W is all zero, ‖ΔW‖_F itself stands.
    """
    updates = {}
    for name, qkv in adapted_layers(model).items():
        for projection in PROJECTIONS:
            change = float(exact(qkv.adapter(projection).delta_weight()).norm())
            size = float(exact(qkv.base_rows(projection)).norm())
            updates[f"{name}.{projection}"] = change / size if size else change
    return updates


def adaptation_warnings(
    updates: Mapping[str, float], ranks: Mapping[str, int], pruned_to: Collection[int] = ()
) -> list[str]:
    """Return sentences that tell a user when stage 1 did not do its work; an empty list when it did.

    Args:
        updates: the answer of `relative_update` at the end of stage 1.
        ranks: rank by adapter name at the end of stage 1.
        pruned_to: `RankAllocator.budgets`, when pruning was asked for.
    """
    warnings = []
    if updates and max(updates.values()) < NOTICEABLE_UPDATE:
        warnings.append(
            f"No adapter moved its matrix by more than {max(updates.values()):.1e} of its size: raise the"
            " learning rate of the singular values or train for longer."
        )
    if pruned_to and sum(ranks.values()) > min(pruned_to):
        warnings.append(
            f"The ranks were never reduced to the planned {min(pruned_to)} components: let the last prune"
            " point lie within the training."
        )
    elif pruned_to and len(ranks) > 1 and len(set(ranks.values())) == 1:
        warnings.append(
            "Every matrix ended at the same rank, so importance did not tell them apart: train longer before"
            " the first prune point or raise the learning rate of the singular values."
        )
    return warnings
