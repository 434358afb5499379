"""Fake quantisation of a product of two activations, as attention has two."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from adaloraqat.models.attention import MatrixProduct
from adaloraqat.quantize.fake_quantize import ActivationQuantizer, SymmetricQuantizer, observed_step
from adaloraqat.quantize.observer import RangeObserver


class FakeQuantizedProduct(MatrixProduct):
    """left · right, the left on an unsigned 8-bit grid, the right on a signed one with the range of weights.

    So it is, to an engine, a product with a weight that changes, and as exact on CPUs without VNNI.

    Attributes:
        left_quantizer: grid of (..., m, k).
        right_quantizer: grid of (..., k, n).
        output_range: (2,) buffer, as of `FakeQuantized`.
    """

    quantized: ClassVar[bool] = True
    output_range: Tensor

    def __init__(self, weight_limit: int) -> None:
        super().__init__()
        self.left_quantizer = ActivationQuantizer()
        self.right_quantizer = SymmetricQuantizer(weight_limit)
        self.register_buffer("output_range", torch.zeros(2))
        self.output_observer: RangeObserver | None = None

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return (..., m, n)."""
        outputs = self.left_quantizer(left) @ self.right_quantizer(right)
        if self.output_observer is not None:
            self.output_observer.update(outputs)
        return outputs

    def output_step(self) -> float:
        """Return 1 LSB of the output, (high - low) / 255 of what calibration saw."""
        return observed_step(self.output_range)
