"""The range of an activation: the smallest and the largest value that flowed through the layer."""

import torch
from torch import Tensor


class RangeObserver:
    """Keeps the smallest and the largest of the values it sees."""

    def __init__(self) -> None:
        self.low: Tensor | None = None
        self.high: Tensor | None = None

    @torch.no_grad()
    def update(self, values: Tensor) -> None:
        """Take note of one batch; values that are not finite are ignored."""
        flat = values.detach().flatten().float()
        flat = flat[torch.isfinite(flat)]
        if not flat.numel():
            return
        low, high = torch.aminmax(flat)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)

    def range(self) -> tuple[Tensor, Tensor]:
        """Return (low, high), each (); (0, 0) if nothing was seen."""
        if self.low is None or self.high is None:
            return torch.zeros(()), torch.zeros(())
        return self.low, self.high
