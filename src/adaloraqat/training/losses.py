"""Losses: BCE + Dice on the mask, squared error on the predicted quality (paper section 3, SAM section 3).

Written here, and not taken from MONAI, because importing MONAI takes longer than the demo's first epoch and
the two formulas are two lines; `tests/training` compares both with hand-worked numbers.
"""

import torch.nn.functional as F
from torch import Tensor


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


def bce_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of (B, 1, H, W) logits against soft targets in [0, 1]."""
    return F.binary_cross_entropy_with_logits(logits, targets)


def quality_loss(quality: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error between the predicted IoU (B,) and the true IoU of the thresholded mask."""
    return F.mse_loss(quality, mask_iou(logits, targets))


def mask_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the IoU (B,) of each thresholded mask (B, 1, H, W) with its truth; 1 where both are empty."""
    predicted, truth = logits > 0, targets > 0.5
    overlap = (predicted & truth).sum(dim=(1, 2, 3)).float()
    union = (predicted | truth).sum(dim=(1, 2, 3)).float()
    return (overlap + 1e-6) / (union + 1e-6)
