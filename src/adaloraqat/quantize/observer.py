"""Choosing the range of an activation from what flows through the layer."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from adaloraqat.errors import RecipeError
from adaloraqat.quantize import numerics

RangeMethod = Literal["minmax", "percentile", "mse"]

_SAMPLES_PER_BATCH = 8192
_PERCENTILE = 0.9999
_SHRINK = torch.linspace(0.3, 1.0, 36)


class RangeObserver:
    """Collects smallest, largest and an even sample of the values it sees, then chooses a range.

    Methods:
        "minmax": everything seen. "percentile": from the 0.01 to the 99.99 percentile. "mse": the fraction of
        the full range at which rounding and clipping together lose the least squared error.

    Raises:
        RecipeError: the method is unknown.
    """

    def __init__(self, method: RangeMethod = "minmax") -> None:
        if method not in get_args(RangeMethod):
            raise RecipeError(
                f"The range method {method!r} is unknown: use one of {', '.join(get_args(RangeMethod))}."
            )
        self.method = method
        self.low: Tensor | None = None
        self.high: Tensor | None = None
        self.samples: list[Tensor] = []

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
        if self.method != "minmax":
            self.samples.append(flat[:: max(1, flat.numel() // _SAMPLES_PER_BATCH)].clone())

    @property
    def seen(self) -> bool:
        """Whether any finite value has come by."""
        return self.low is not None

    def range(self) -> tuple[Tensor, Tensor]:
        """Return the chosen (low, high), each (); (0, 0) if nothing was seen."""
        if self.low is None or self.high is None:
            return torch.zeros(()), torch.zeros(())
        if self.method == "minmax":
            return self.low, self.high
        samples = torch.cat(self.samples)
        if self.method == "percentile":
            ordered = samples.sort().values
            last = ordered.numel() - 1
            return ordered[round(last * (1 - _PERCENTILE))], ordered[round(last * _PERCENTILE)]
        return _least_squares_range(samples, self.low, self.high)


def _least_squares_range(samples: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    errors = []
    for shrink in _SHRINK:
        scale, zero_point = numerics.activation_parameters(low * shrink, high * shrink)
        rounded = numerics.fake_quantize_activation(samples, scale, zero_point)
        errors.append((rounded - samples).square().mean())
    best = _SHRINK[int(torch.stack(errors).argmin())]
    return low * best, high * best
