"""The graphs of a bundle whose network takes no prompt: the network, and a decoder that repeats its mask."""

from __future__ import annotations

from torch import Tensor, nn

from adaloraqat.models.prompt_free import PromptFreeModel


class NetworkGraph(nn.Module):
    """image (1, C, S, S) -> embedding (1, 1, n, n), which are the logits themselves."""

    def __init__(self, model: PromptFreeModel) -> None:
        """Wrap `model`."""
        super().__init__()
        self.network = model.network

    def forward(self, image: Tensor) -> Tensor:
        """Segment one normalised film."""
        logits: Tensor = self.network(image)
        return logits


class RepeatGraph(nn.Module):
    """embedding (1, 1, n, n), boxes (N, 4) -> the same logits (N, n, n) for all, quality (N,) of zeros."""

    def forward(self, embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Repeat the logits; the boxes only say how often."""
        zeros = boxes[:, 0] * 0  # (N,)
        return embedding[0] + zeros[:, None, None], zeros
