"""Networks without prompts (U-Net and the like) behind the same `encode` and `decode` as a SAM.

So the baselines go through the one training loop, the one validation, the one export. A box means nothing to
them; whatever compares models must compare them with box-less use only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

__all__ = ["PromptFreeModel"]


class PromptFreeModel(nn.Module):
    """A network image (B, C, S, S) -> logits (B, 1, n, n), where the n×n grid covers the S×S image.

    Attributes:
        network: the network itself.
        architecture: the config that `adaloraqat.models.families.build` takes to build it again.
    """

    def __init__(self, network: nn.Module, architecture: Mapping[str, Any]) -> None:
        """Wrap `network`."""
        super().__init__()
        self.network = network
        self.architecture = dict(architecture)

    def encode(self, image: Tensor) -> Tensor:
        """Return the logits (B, 1, n, n): all there is to compute, since no prompt follows."""
        logits: Tensor = self.network(image)
        return logits

    def decode(self, embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same logits for every box (B, N, n, n), and zeros (B, N): no quality is predicted."""
        logits = embedding.expand(-1, boxes.shape[1], -1, -1)
        return logits, logits.new_zeros(logits.shape[:2])
