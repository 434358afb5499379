"""A product of two activations in the integer model: standard ONNX, one integer MatMul in each engine.

left -> QuantizeLinear (uint8) -> DequantizeLinear ->
                                                      MatMul
    right -> QuantizeLinear (int8) -> DequantizeLinear ->
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adaloraqat.quantize import numerics
from adaloraqat.quantize.fake_product import FakeQuantizedProduct


class IntegerMatMul(nn.Module):
    """left (..., m, k) times right (..., k, n), both rounded to 8 bits.

    Attributes:
        left_scale: () float32. left_zero_point: () uint8.
        right_scale: () float32. right_zero_point: () int8, 0.
    """

    left_scale: Tensor
    left_zero_point: Tensor
    right_scale: Tensor
    right_zero_point: Tensor
    quantized = True

    def __init__(self, product: FakeQuantizedProduct) -> None:
        """Take the ranges of a calibrated product.

        Raises:
            RuntimeError: it is not calibrated.
        """
        super().__init__()
        left, right = product.left_quantizer, product.right_quantizer
        if not (left.calibrated and right.calibrated):
            raise RuntimeError("this product has no activation range yet: run calibrate() before convert()")
        self.limit = right.limit
        self.register_buffer("left_scale", left.scale.clone())
        self.register_buffer("left_zero_point", left.zero_point.to(torch.uint8))
        self.register_buffer("right_scale", right.scale.clone())
        self.register_buffer("right_zero_point", torch.zeros((), dtype=torch.int8))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return (..., m, n)."""
        # An engine rounds to int8, |q| <= 128; the trained range is narrower, so it is clipped beforehand.
        bound = float(self.right_scale) * self.limit
        return _IntegerMatMul.apply(
            left,
            right.clamp(-bound, bound),
            self.left_scale,
            self.left_zero_point,
            self.right_scale,
            self.right_zero_point,
        )


class _IntegerMatMul(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        left: Tensor,
        right: Tensor,
        left_scale: Tensor,
        left_zero_point: Tensor,
        right_scale: Tensor,
        right_zero_point: Tensor,
    ) -> Tensor:
        rounded = numerics.fake_quantize_activation(left, left_scale, left_zero_point.to(torch.int32))
        return rounded @ numerics.fake_quantize_symmetric(right, right_scale, 127)

    @staticmethod
    def symbolic(
        g: Any,
        left: Any,
        right: Any,
        left_scale: Any,
        left_zero_point: Any,
        right_scale: Any,
        right_zero_point: Any,
    ) -> Any:
        terms = []
        for values, scale, zero_point in (
            (left, left_scale, left_zero_point),
            (right, right_scale, right_zero_point),
        ):
            integers = g.op("QuantizeLinear", values, scale, zero_point)
            terms.append(g.op("DequantizeLinear", integers, scale, zero_point))
        return g.op("MatMul", *terms)
