"""How far an adaptation has moved the model: ‖ΔW‖ / ‖W‖ of each matrix."""

from collections.abc import Collection, Mapping

import torch
from torch import nn

from adaloraqat.lowrank.adapted_qkv import PROJECTIONS
from adaloraqat.lowrank.adapters import adapted_layers

NOTICEABLE_UPDATE = 1e-3
"""Below this ‖ΔW‖/‖W‖ in every matrix the adapters have learned next to nothing."""


@torch.no_grad()
def relative_update(model: nn.Module) -> dict[str, float]:
    """Return ‖ΔW‖_F / ‖W‖_F by adapter name, W being the rows of q, k or v alone.

    Where W is all zero, ‖ΔW‖_F itself stands.
    """
    updates = {}
    for name, qkv in adapted_layers(model).items():
        for projection in PROJECTIONS:
            change = float(qkv.adapter(projection).delta_weight().double().norm())
            size = float(qkv.base_rows(projection).double().norm())
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
