"""Losses: BCE + Dice on the mask, squared error on the predicted IoU (paper section 3, SAM section 3).

Written here, and not taken from MONAI, because importing MONAI takes longer than the demo's first epoch and
the two formulas are two lines; `tests/training` compares both with hand-worked numbers.
"""

import torch.nn.functional as F
from torch import Tensor

from adaloraqat.training.kinds.base import Losses


def mask_terms(logits: Tensor, quality: Tensor, targets: Tensor, weights: Losses) -> dict[str, Tensor]:
    """Return the weighted loss terms () that every stage has.

    Args:
        logits: (B, 1, S, S).
        quality: (B, 1) predicted IoU.
        targets: (B, 1, S, S) soft masks in [0, 1].
        weights: of the terms; the quality term exists only where it weighs.
    """
    terms = {
        "bce": weights.bce * F.binary_cross_entropy_with_logits(logits, targets),
        "dice": weights.dice * soft_dice_loss(logits, targets),
    }
    if weights.quality:
        error = F.mse_loss(
            quality[:, 0].to(logits.dtype), mask_iou(logits.detach(), targets).to(logits.dtype)
        )
        terms["quality"] = weights.quality * error
    return terms


def soft_dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over the batch of 1 - (2 Σpt + 1) / (Σp + Σt + 1), p = sigmoid(logits).

    The ones keep the loss of an empty mask finite and its gradient small.

    Args:
        logits: (B, 1, H, W).
        targets: (B, 1, H, W) soft masks in [0, 1].
    """
    probability = logits.sigmoid()
    overlap = (probability * targets).sum(dim=(1, 2, 3))
    total = probability.sum(dim=(1, 2, 3)) + targets.sum(dim=(1, 2, 3))
    return (1 - (2 * overlap + 1) / (total + 1)).mean()


def mask_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the IoU (B,) of each thresholded mask (B, 1, H, W) with its truth; 1 where both are empty."""
    predicted, truth = logits > 0, targets > 0.5
    overlap = (predicted & truth).sum(dim=(1, 2, 3)).float()
    union = (predicted | truth).sum(dim=(1, 2, 3)).float()
    return (overlap + 1e-6) / (union + 1e-6)
