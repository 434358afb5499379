"""The integer model's layers: int8 weights and int32 biases in buffers, standard ONNX when exported.

In torch they compute with the dequantised values, which is what the fake-quantised layer computed with. The
ONNX exporter writes each as

    x -> QuantizeLinear -> DequantizeLinear -> Gemm(·, DequantizeLinear(int8), DequantizeLinear(int32))

which ONNX Runtime fuses into one integer `QGemm` and OpenVINO into one integer `FullyConnected`. Four details
make that happen (each was measured; without any of them ONNX Runtime runs a float product, slower than FP32):
the weight is stored as (in, out), so that no Transpose stands between it and the product; the bias is int32
at scale s_input · s_weight with a DequantizeLinear of its own; the weight's zero point of 0 is written out;
the input is two-dimensional.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaloraqat.quantize import numerics
from adaloraqat.quantize.fake_quantize import ActivationQuantizer, FakeQuantized
from adaloraqat.quantize.layout import Layout


class IntegerProduct(nn.Module):
    """A linear map or patch-wise convolution with int8 weights, int32 bias and an unsigned 8-bit input.

    Attributes:
        weight: (in, out) int8.
        weight_scale: () or (out,) float32. weight_zero_point: zeros of that shape, int8.
        bias: (out,) int32, or None.
        bias_scale: () or (out,) float32, input_scale · weight_scale.
        input_scale: () float32. input_zero_point: () uint8.
    """

    weight: Tensor
    weight_scale: Tensor
    weight_zero_point: Tensor
    bias: Tensor | None
    bias_scale: Tensor
    input_scale: Tensor
    input_zero_point: Tensor

    def __init__(self, layer: FakeQuantized) -> None:
        """Take the integers of a calibrated fake-quantised layer.

        Raises:
            RuntimeError: the layer is not calibrated.
        """
        super().__init__()
        self.layout: Layout = layer.layout
        register_integers(self, layer, Tensor.t)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute in the shapes of the layer this one replaces."""
        gathered = self.layout.gather(inputs)
        rows = gathered.reshape(-1, self.weight.shape[0])  # (rows, in)
        outputs = _IntegerGemm.apply(
            rows,
            self.weight,
            self.weight_scale,
            self.weight_zero_point,
            self.bias,
            self.bias_scale,
            self.input_scale,
            self.input_zero_point,
        )
        inner = (
            int(size) for size in gathered.shape[1:-1]
        )  # only the batch may be dynamic in an exported graph
        return self.layout.scatter(outputs.reshape(-1, *inner, self.weight.shape[1]))


def register_integers(module: nn.Module, layer: FakeQuantized, arrange: Callable[[Tensor], Tensor]) -> None:
    """Give `module` the buffers `weight`, `bias`, their scales and zero points, and the input's grid.

    Args:
        module: an integer layer under construction.
        layer: the calibrated fake-quantised layer that it replaces.
        arrange: lays the int8 matrix (out, in) out as the module keeps its weight.

    Raises:
        RuntimeError: the layer is not calibrated.
    """
    quantizer = layer.input_quantizer
    if not quantizer.calibrated:
        raise RuntimeError("this layer has no activation range yet: run calibrate() before convert()")
    with torch.no_grad():
        matrix, bias, scale = layer.product_terms()
        bias_scale = quantizer.scale * scale
        weight = numerics.integer_weight(matrix, scale, layer.weight_limit, layer.precision.divide)
        integer_bias = None if bias is None else numerics.integer_bias(bias, bias_scale)
    module.register_buffer("weight", arrange(weight).contiguous())
    module.register_buffer("weight_scale", scale.clone())
    module.register_buffer("weight_zero_point", torch.zeros_like(scale, dtype=torch.int8))
    module.register_buffer("bias", integer_bias)
    module.register_buffer("bias_scale", bias_scale)
    register_grid(module, "input", quantizer)


def register_grid(module: nn.Module, name: str, quantizer: ActivationQuantizer) -> None:
    """Give `module` the buffers `<name>_scale` and `<name>_zero_point` of a calibrated unsigned quantiser."""
    module.register_buffer(f"{name}_scale", quantizer.scale.clone())
    module.register_buffer(f"{name}_zero_point", quantizer.zero_point.to(torch.uint8))


class IntegerTable(nn.Module):
    """A looked-up table stored as int8; `.weight` is its dequantised value, as of an `nn.Embedding`."""

    table: Tensor
    scale: Tensor

    def __init__(self, table: Tensor, scale: Tensor, weight_limit: int) -> None:
        """Take the float table (rows, D), its scale () and the largest |q|."""
        super().__init__()
        self.register_buffer("table", numerics.integer_weight(table, scale, weight_limit))
        self.register_buffer("scale", scale.detach().clone())

    @property
    def weight(self) -> Tensor:
        """(rows, D) float32."""
        return _Dequantize.apply(self.table, self.scale)


class StoredLinear(nn.Module):
    """A linear layer whose weight is stored as int8 and multiplied in float32.

    Attributes:
        weight: (out, in) int8. weight_scale: () float32.
        bias: (out,) float32, or None.
    """

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, linear: nn.Linear, scale: Tensor, integers: Tensor) -> None:
        """Take the bias of `linear`, and the integers (out, in) and scale () of its weight."""
        super().__init__()
        self.register_buffer("weight", integers)
        self.register_buffer("weight_scale", scale.detach().clone())
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return F.linear(inputs, _Dequantize.apply(self.weight, self.weight_scale), self.bias)


class _IntegerGemm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        weight_scale: Tensor,
        weight_zero_point: Tensor,
        bias: Tensor | None,
        bias_scale: Tensor,
        input_scale: Tensor,
        input_zero_point: Tensor,
    ) -> Tensor:
        inputs = numerics.fake_quantize_activation(rows, input_scale, input_zero_point.to(torch.int32))
        matrix = weight.t().float() * (weight_scale.unsqueeze(1) if weight_scale.dim() else weight_scale)
        return F.linear(inputs, matrix, None if bias is None else bias.float() * bias_scale)

    @staticmethod
    def symbolic(
        g: Any,
        rows: Any,
        weight: Any,
        weight_scale: Any,
        weight_zero_point: Any,
        bias: Any,
        bias_scale: Any,
        input_scale: Any,
        input_zero_point: Any,
    ) -> Any:
        integers = g.op("QuantizeLinear", rows, input_scale, input_zero_point)
        inputs = g.op("DequantizeLinear", integers, input_scale, input_zero_point)
        # ONNX ignores the axis where the scale is a scalar.
        terms = [inputs, g.op("DequantizeLinear", weight, weight_scale, weight_zero_point, axis_i=1)]
        if bias is not None and not bias.node().mustBeNone():
            terms.append(g.op("DequantizeLinear", bias, bias_scale, axis_i=0))
        return g.op("Gemm", *terms)


class _Dequantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, scale: Tensor) -> Tensor:
        return table.float() * scale

    @staticmethod
    def symbolic(g: Any, table: Any, scale: Any) -> Any:
        return g.op("DequantizeLinear", table, scale)
