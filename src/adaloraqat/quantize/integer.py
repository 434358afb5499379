"""The integer model: int8 weights and int32 biases in buffers, standard ONNX when exported.

In torch its layers compute with the dequantised values, which is what the fake-quantised layers computed
with. The ONNX exporter writes a linear map as

    x -> QuantizeLinear -> DequantizeLinear -> Gemm(·, DequantizeLinear(int8), DequantizeLinear(int32))

which ONNX Runtime fuses into one integer `QGemm` and OpenVINO into one integer `FullyConnected`. Four details
make that happen (each was measured; without any of them ONNX Runtime runs a float product, slower than FP32):
the weight is stored as (in, out), so that no Transpose stands between it and the product; the bias is int32
at scale s_input · s_weight with a DequantizeLinear of its own; the weight's zero point of 0 is written out;
the input is two-dimensional.

A convolution (stride, padding and groups, depthwise ones too) is written as

    x -> QuantizeLinear -> DequantizeLinear -> Conv(·, DequantizeLinear(int8), DequantizeLinear(int32))
      -> QuantizeLinear -> DequantizeLinear

which becomes one `QLinearConv` or one integer `Convolution`. Without the last pair, ONNX Runtime convolves in
floating point (measured). A product of two activations is written as

    left -> QuantizeLinear (uint8) -> DequantizeLinear ->
                                                          MatMul
    right -> QuantizeLinear (int8) -> DequantizeLinear ->

and becomes one integer MatMul in each engine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaloraqat.lowrank.adalora_layer import AdaptedQKV
from adaloraqat.models.attention import counted
from adaloraqat.models.tiny_vit import ConvNorm
from adaloraqat.quantize import numerics
from adaloraqat.quantize.fake_quantize import ActivationQuantizer, FakeQuantized, FakeQuantizedProduct
from adaloraqat.quantize.layout import ConvolutionLayout, Layout
from adaloraqat.quantize.storage import HalfStorage, IntegerStorage, parameter, stored, unstore

Model = TypeVar("Model", bound=nn.Module)


def convert(model: Model) -> Model:
    """Return a copy of a prepared and calibrated model whose weights are what a file will hold.

    Fake-quantised layers become `IntegerProduct` or `IntegerConvolution`, products of activations
    `IntegerMatMul`, int8 tables `IntegerTable`, 16-bit weights float16 parameters; weights that are only
    stored as int8 are read through a DequantizeLinear; an `AdaptedQKV` that stays float is merged into one
    `nn.Linear`. A float model comes back with its adapters merged.
    The copy computes what `model` computes (in float arithmetic on the same grids) and
    is in eval mode.

    Raises:
        RuntimeError: a layer has no activation range: `calibrate` has not run.
    """
    converted = copy.deepcopy(model).eval()
    for module in converted.modules():
        if isinstance(module, ConvNorm):
            module.fold()
    with torch.no_grad():
        for name, module in list(converted.named_modules()):
            replacement = _replacement(module)
            if replacement is not None:
                owner, _, attribute = name.rpartition(".")
                setattr(converted.get_submodule(owner), attribute, replacement.eval())
            else:
                _store_in_half(module)
    return converted.requires_grad_(False)


def _replacement(module: nn.Module) -> nn.Module | None:
    if isinstance(module, FakeQuantized):
        return IntegerConvolution(module) if module.precision.outputs else IntegerProduct(module)
    if isinstance(module, FakeQuantizedProduct):
        return IntegerMatMul(module)
    if isinstance(module, AdaptedQKV):
        return module.merged()
    storage = stored(module).get("weight")
    if isinstance(module, nn.Embedding) and isinstance(storage, IntegerStorage):
        table = parameter(module, "weight")
        return IntegerTable(table, storage.scale(table), storage.weight_limit)
    if isinstance(storage, IntegerStorage):
        return _reading_integers(module, storage)
    return None


def _reading_integers(layer: nn.Module, storage: IntegerStorage) -> nn.Module:
    """Return `layer` with its weight as int8 buffer, dequantised whenever it is read."""
    weight = parameter(layer, "weight")
    integers, scale = storage.integers(weight), storage.scale(weight).detach().clone()
    unstore(layer)
    axis = 0 if storage.axis is None else storage.axis
    base = type(layer)
    reader = property(lambda own: _Dequantize.apply(own._buffers["weight"], own.weight_scale, axis))
    layer.__class__ = type(f"Stored{base.__name__}", (base,), {"weight": reader})
    del layer._parameters["weight"]
    layer._buffers["weight"] = integers.contiguous()
    layer.register_buffer("weight_scale", scale)
    return layer


def _store_in_half(module: nn.Module) -> None:
    for tensor, storage in stored(module).items():
        if isinstance(storage, HalfStorage):
            halved = parameter(module, tensor).half()
            module._parameters[tensor] = nn.Parameter(halved, requires_grad=False)


class IntegerLayer(nn.Module):
    """A layer with int8 weights, int32 bias and an unsigned 8-bit input.

    Attributes:
        weight: int8, laid out as the subclass says.
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

    def __init__(self, layer: FakeQuantized, arrange: Callable[[Tensor], Tensor]) -> None:
        """Take the integers of a calibrated fake-quantised layer.

        Args:
            layer: the layer that is replaced.
            arrange: lays the int8 matrix (out, in) out as this layer keeps its weight.

        Raises:
            RuntimeError: the layer is not calibrated.
        """
        super().__init__()
        quantizer = layer.input_quantizer
        _check_calibrated(quantizer, "layer")
        with torch.no_grad():
            matrix, bias, scale = layer.product_terms()
            bias_scale = quantizer.scale * scale
            weight = numerics.integer_weight(matrix, scale, layer.weight_limit, layer.precision.divide)
            integer_bias = None if bias is None else numerics.integer_bias(bias, bias_scale)
        self.register_buffer("weight", arrange(weight).contiguous())
        self.register_buffer("weight_scale", scale.clone())
        self.register_buffer("weight_zero_point", torch.zeros_like(scale, dtype=torch.int8))
        self.register_buffer("bias", integer_bias)
        self.register_buffer("bias_scale", bias_scale)
        _register_grid(self, "input", quantizer)

    def integers(self) -> tuple[Tensor | None, ...]:
        """Return weight, its scale and zero point, bias, its scale, and the input's scale and zero point."""
        weight = (self.weight, self.weight_scale, self.weight_zero_point)
        return (*weight, self.bias, self.bias_scale, self.input_scale, self.input_zero_point)


class IntegerProduct(IntegerLayer):
    """A linear map or patch-wise convolution; its `weight` is (in, out).

    Attributes:
        varying: whether the axis before the last may vary in an exported graph, beside the batch.
    """

    varying = False

    def __init__(self, layer: FakeQuantized) -> None:
        """Take the integers of a calibrated fake-quantised layer.

        Raises:
            RuntimeError: the layer is not calibrated.
        """
        super().__init__(layer, Tensor.t)
        self.layout: Layout = layer.layout

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute in the shapes of the layer this one replaces."""
        gathered = self.layout.gather(inputs)
        rows = gathered.reshape(-1, self.weight.shape[0])  # (rows, in)
        outputs = _IntegerGemm.apply(rows, *self.integers())
        sizes = gathered.shape[1:-1]
        inner = (counted(size, self.varying and at == len(sizes)) for at, size in enumerate(sizes, start=1))
        return self.layout.scatter(outputs.reshape(-1, *inner, self.weight.shape[1]))


class IntegerConvolution(IntegerLayer):
    """(B, C, H, W) -> (B, out, h, w), its output rounded to 8 bits too; `weight` is (out, C / groups, k, k).

    Attributes:
        output_scale: () float32. output_zero_point: () uint8.
    """

    output_scale: Tensor
    output_zero_point: Tensor

    def __init__(self, layer: FakeQuantized) -> None:
        """Take the integers of a calibrated fake-quantised convolution.

        Raises:
            RuntimeError: the layer is not calibrated.
        """
        layout, output = layer.layout, layer.output_quantizer
        assert isinstance(layout, ConvolutionLayout)
        assert output is not None
        _check_calibrated(output, "layer")
        super().__init__(layer, layout.kernels)
        self.layout = layout
        _register_grid(self, "output", output)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute in the shapes of the layer this one replaces."""
        grid = (self.output_scale, self.output_zero_point)
        return _IntegerConv.apply(inputs, self.layout, *self.integers(), *grid)


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
        for quantizer in (left, right):
            _check_calibrated(quantizer, "product")
        self.limit = right.limit
        _register_grid(self, "left", left)
        self.register_buffer("right_scale", right.scale.clone())
        self.register_buffer("right_zero_point", torch.zeros((), dtype=torch.int8))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return (..., m, n)."""
        # An engine rounds to int8, |q| <= 128; the trained range is narrower, so it is clipped beforehand.
        bound = float(self.right_scale) * self.limit
        grids = (self.left_scale, self.left_zero_point, self.right_scale, self.right_zero_point)
        return _IntegerMatMul.apply(left, right.clamp(-bound, bound), *grids)


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
        return _Dequantize.apply(self.table, self.scale, 0)


def _check_calibrated(quantizer: ActivationQuantizer, what: str) -> None:
    if not quantizer.calibrated:
        raise RuntimeError(f"this {what} has no activation range yet: run calibrate() before convert()")


def _register_grid(module: nn.Module, name: str, quantizer: ActivationQuantizer) -> None:
    """Give `module` the buffers `<name>_scale` and `<name>_zero_point` of a calibrated unsigned quantiser."""
    module.register_buffer(f"{name}_scale", quantizer.scale.clone())
    module.register_buffer(f"{name}_zero_point", quantizer.zero_point.to(torch.uint8))


def _on_grid(values: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    return numerics.fake_quantize_activation(values, scale, zero_point.to(torch.int32))


def _rounded(g: Any, values: Any, scale: Any, zero_point: Any) -> Any:
    """Write `values` rounded to a grid of 8 bits into the graph `g`."""
    integers = g.op("QuantizeLinear", values, scale, zero_point)
    return g.op("DequantizeLinear", integers, scale, zero_point)


def _terms(g: Any, axis: int, inputs: Any, integers: tuple[Any, ...]) -> list[Any]:
    """Write a product's operands (`IntegerLayer.integers`); `axis` of the weight is its output channels'."""
    weight, weight_scale, weight_zero_point, bias, bias_scale, *input_grid = integers
    terms = [
        _rounded(g, inputs, *input_grid),
        # ONNX ignores the axis where the scale is a scalar.
        g.op("DequantizeLinear", weight, weight_scale, weight_zero_point, axis_i=axis),
    ]
    if bias is not None and not bias.node().mustBeNone():
        terms.append(g.op("DequantizeLinear", bias, bias_scale, axis_i=0))
    return terms


class _IntegerGemm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, *integers: Any) -> Tensor:
        weight, scale, _, bias, bias_scale, *input_grid = integers
        matrix = weight.t().float() * (scale.unsqueeze(1) if scale.dim() else scale)
        bias = None if bias is None else bias.float() * bias_scale
        return F.linear(_on_grid(rows, *input_grid), matrix, bias)

    @staticmethod
    def symbolic(g: Any, rows: Any, *integers: Any) -> Any:
        return g.op("Gemm", *_terms(g, 1, rows, integers))


class _IntegerConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layout: ConvolutionLayout, *integers: Any) -> Tensor:
        weight, scale, _, bias, bias_scale, *input_grid = integers[:-2]
        kernels = weight.float() * scale.reshape(-1, 1, 1, 1)
        bias = None if bias is None else bias.float() * bias_scale
        inputs = _on_grid(inputs, *input_grid)
        outputs = F.conv2d(
            inputs, kernels, bias, layout.stride, layout.padding, layout.dilation, layout.groups
        )
        return _on_grid(outputs, *integers[-2:])

    @staticmethod
    def symbolic(g: Any, inputs: Any, layout: ConvolutionLayout, *integers: Any) -> Any:
        outputs = g.op(
            "Conv",
            *_terms(g, 0, inputs, integers[:-2]),
            kernel_shape_i=list(layout.kernel),
            strides_i=list(layout.stride),
            pads_i=[*layout.padding, *layout.padding],
            dilations_i=list(layout.dilation),
            group_i=layout.groups,
        )
        return _rounded(g, outputs, *integers[-2:])


class _IntegerMatMul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, *grids: Tensor) -> Tensor:
        left_scale, left_zero_point, right_scale, _ = grids
        rounded = _on_grid(left, left_scale, left_zero_point)
        return rounded @ numerics.fake_quantize_symmetric(right, right_scale, 127)

    @staticmethod
    def symbolic(g: Any, left: Any, right: Any, *grids: Any) -> Any:
        return g.op("MatMul", _rounded(g, left, *grids[:2]), _rounded(g, right, *grids[2:]))


class _Dequantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, integers: Tensor, scale: Tensor, axis: int) -> Tensor:
        if scale.dim():
            scale = scale.reshape([-1 if place == axis else 1 for place in range(integers.dim())])
        return integers.float() * scale

    @staticmethod
    def symbolic(g: Any, integers: Any, scale: Any, axis: int) -> Any:
        return g.op("DequantizeLinear", integers, scale, axis_i=axis)  # ignored where there is one scale
