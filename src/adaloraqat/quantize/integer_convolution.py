"""A convolution of the integer model, with stride, padding and groups (depthwise ones too).

The ONNX exporter writes it as

    x -> QuantizeLinear -> DequantizeLinear -> Conv(·, DequantizeLinear(int8), DequantizeLinear(int32))
      -> QuantizeLinear -> DequantizeLinear

which ONNX Runtime fuses into one `QLinearConv` and OpenVINO into one integer `Convolution`. Without the last
pair, ONNX Runtime convolves in floating point (measured).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaloraqat.quantize import numerics
from adaloraqat.quantize.fake_quantize import FakeQuantized
from adaloraqat.quantize.integer import register_grid, register_integers
from adaloraqat.quantize.layout import ConvolutionLayout


class IntegerConvolution(nn.Module):
    """(B, C, H, W) -> (B, out, h, w) with int8 weights, int32 bias, unsigned 8-bit input and output.

    Attributes:
        weight: (out, C / groups, k, k) int8.
        weight_scale: () or (out,) float32. weight_zero_point: zeros of that shape, int8.
        bias: (out,) int32, or None.
        bias_scale: () or (out,) float32, input_scale · weight_scale.
        input_scale, output_scale: () float32. input_zero_point, output_zero_point: () uint8.
    """

    weight: Tensor
    weight_scale: Tensor
    weight_zero_point: Tensor
    bias: Tensor | None
    bias_scale: Tensor
    input_scale: Tensor
    input_zero_point: Tensor
    output_scale: Tensor
    output_zero_point: Tensor

    def __init__(self, layer: FakeQuantized) -> None:
        """Take the integers of a calibrated fake-quantised convolution.

        Raises:
            RuntimeError: the layer is not calibrated.
        """
        super().__init__()
        layout, output = layer.layout, layer.output_quantizer
        assert isinstance(layout, ConvolutionLayout)
        assert output is not None
        if not output.calibrated:
            raise RuntimeError("this layer has no activation range yet: run calibrate() before convert()")
        self.layout = layout
        register_integers(self, layer, layout.kernels)
        register_grid(self, "output", output)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute in the shapes of the layer this one replaces."""
        return _IntegerConv.apply(
            inputs,
            self.weight,
            self.weight_scale,
            self.weight_zero_point,
            self.bias,
            self.bias_scale,
            self.input_scale,
            self.input_zero_point,
            self.output_scale,
            self.output_zero_point,
            self.layout,
        )


class _IntegerConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        weight_scale: Tensor,
        weight_zero_point: Tensor,
        bias: Tensor | None,
        bias_scale: Tensor,
        input_scale: Tensor,
        input_zero_point: Tensor,
        output_scale: Tensor,
        output_zero_point: Tensor,
        layout: ConvolutionLayout,
    ) -> Tensor:
        rounded = numerics.fake_quantize_activation(inputs, input_scale, input_zero_point.to(torch.int32))
        kernels = weight.float() * weight_scale.reshape(-1, 1, 1, 1)
        outputs = F.conv2d(
            rounded,
            kernels,
            None if bias is None else bias.float() * bias_scale,
            layout.stride,
            layout.padding,
            layout.dilation,
            layout.groups,
        )
        return numerics.fake_quantize_activation(outputs, output_scale, output_zero_point.to(torch.int32))

    @staticmethod
    def symbolic(
        g: Any,
        inputs: Any,
        weight: Any,
        weight_scale: Any,
        weight_zero_point: Any,
        bias: Any,
        bias_scale: Any,
        input_scale: Any,
        input_zero_point: Any,
        output_scale: Any,
        output_zero_point: Any,
        layout: ConvolutionLayout,
    ) -> Any:
        integers = g.op("QuantizeLinear", inputs, input_scale, input_zero_point)
        terms = [
            g.op("DequantizeLinear", integers, input_scale, input_zero_point),
            g.op("DequantizeLinear", weight, weight_scale, weight_zero_point, axis_i=0),
        ]
        if bias is not None and not bias.node().mustBeNone():
            terms.append(g.op("DequantizeLinear", bias, bias_scale, axis_i=0))
        outputs = g.op(
            "Conv",
            *terms,
            kernel_shape_i=list(layout.kernel),
            strides_i=list(layout.stride),
            pads_i=[*layout.padding, *layout.padding],
            dilations_i=list(layout.dilation),
            group_i=layout.groups,
        )
        rounded = g.op("QuantizeLinear", outputs, output_scale, output_zero_point)
        return g.op("DequantizeLinear", rounded, output_scale, output_zero_point)
