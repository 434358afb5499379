"""A prepared and calibrated model of ours in the layers of Brevitas.

What is said in Brevitas' words:

- weight: signed, narrow, of 7 bits (|q| ≤ 63, "portable") or 8 (|q| ≤ 127, "full"), its scale the largest
  weight of a row (or of the tensor) by 63 or 127, recomputed in each forward pass as ours is;
- activation: unsigned, 8 bits, scale and zero point two frozen parameters, so that a state_dict keeps them;
- bias: 32 bits at input scale · weight scale.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, TypeVar

import torch
from brevitas.core.utils import SingleArgStatelessBuffer
from brevitas.core.zero_point import ParameterZeroPoint
from brevitas.inject.enum import ScalingImplType
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear
from brevitas.quant.base import NarrowIntQuant, PerTensorFloatScaling8bit, UintQuant
from brevitas.quant.scaled_int import Int8WeightPerChannelFloat, Int8WeightPerTensorFloat, Int32Bias
from brevitas.quant.solver.act import ActQuantSolver
from torch import Tensor, nn

from adaloraqat.errors import RecipeError
from adaloraqat.models.attention import MatrixProduct
from adaloraqat.quantize import numerics
from adaloraqat.quantize.fake_product import FakeQuantizedProduct
from adaloraqat.quantize.fake_quantize import ActivationQuantizer, FakeQuantized
from adaloraqat.quantize.layout import UpscaleLayout
from adaloraqat.quantize.prepare import fake_quantized_layers, fake_quantized_products

Model = TypeVar("Model", bound=nn.Module)

__all__ = ["BrevitasProduct", "BrevitasUpscale", "settled", "to_brevitas"]


class _Grid(PerTensorFloatScaling8bit, ActQuantSolver):
    """An activation's grid: the scale itself is the parameter, not a range that a division would round."""

    scaling_impl_type = ScalingImplType.PARAMETER
    int_scaling_impl = SingleArgStatelessBuffer(1.0)


class _UnsignedGrid(UintQuant, _Grid):
    zero_point_impl = ParameterZeroPoint
    quantize_zero_point = True


class _SymmetricGrid(NarrowIntQuant, _Grid):
    pass


class BrevitasUpscale(nn.Module):
    """A transposed convolution whose stride equals its kernel, as the product and the laying out it is here.

    Brevitas has one scale for an output channel of a transposed convolution; ours has one for each of the
    k · k values of a channel, which are rows of this product. The bias, k · k copies of one, is frozen:
    copies that were trained apart would be no transposed convolution's any more.

    Attributes:
        product: a `QuantLinear` from in to k · k · out features.
        layout: how its rows are laid out.
    """

    def __init__(self, product: Any, layout: UpscaleLayout) -> None:
        super().__init__()
        self.product, self.layout = product, layout
        if product.bias is not None:
            product.bias.requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, out, h · k, w · k)."""
        return self.layout.scatter(self.product(self.layout.gather(inputs)))


class BrevitasProduct(MatrixProduct):
    """A product of two activations, each rounded by a `QuantIdentity`.

    Attributes:
        left: grid of (..., m, k), unsigned.
        right: grid of (..., k, n), signed and symmetric.
        output_range: as of `FakeQuantizedProduct`.
    """

    quantized: ClassVar[bool] = True
    output_range: Tensor

    def __init__(self, product: FakeQuantizedProduct) -> None:
        """Take the grids of a calibrated product."""
        super().__init__()
        self.left = QuantIdentity(_UnsignedGrid, **_unsigned(product.left_quantizer))
        scale, bits = product.right_quantizer.scale.clone(), _bits(product.right_quantizer.limit)
        self.right = QuantIdentity(_SymmetricGrid, scaling_init=scale, bit_width=bits)
        self.requires_grad_(False)
        self.register_buffer("output_range", product.output_range.clone())

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return (..., m, n)."""
        return self.left(left) @ self.right(right)


@torch.no_grad()
def to_brevitas(model: Model) -> Model:
    """Return a copy of a prepared and calibrated model whose integer arithmetic is Brevitas'.

    Linear layers (adapters merged into their weight) become `QuantLinear`, convolutions `QuantConv2d`,
    transposed ones `BrevitasUpscale`, attention's products `BrevitasProduct`; names stay. The integers,
    scales and zero points are exactly ours. Weights stay the unrounded ones; only where Brevitas, which
    divides where torch multiplies by the reciprocal, would break a tie the other way, the rounded value
    takes its place. What the policy stores in 16 bits or looks up in int8 tables stays as it is.

    Raises:
        RecipeError: nothing in the model is fake-quantised, a layer is not calibrated, or Brevitas cannot
            express a layer's scales; it says which.
    """
    if not fake_quantized_layers(model) and not fake_quantized_products(model):
        raise RecipeError("The model has no fake-quantised layer: prepare() and calibrate() it first.")
    for name, module in model.named_modules():
        if isinstance(module, ActivationQuantizer) and not module.calibrated:
            raise RecipeError(f"{name} has no activation range yet: calibrate() the model first.")
    copied = copy.deepcopy(model)
    for name, layer in fake_quantized_layers(copied).items():
        _put(copied, name, _layer(layer, name))
    for name, product in fake_quantized_products(copied).items():
        _put(copied, name, BrevitasProduct(product))
    return copied


def _put(model: nn.Module, name: str, replacement: nn.Module) -> None:
    before = model.get_submodule(name)
    model.set_submodule(name, replacement.to(next(before.buffers()).device).train(before.training))


def _layer(layer: FakeQuantized, name: str) -> nn.Module:
    matrix, bias, scale = layer.product_terms()
    settings = _settings(layer, matrix)
    if isinstance(layer, nn.Conv2d):
        shape = {key: getattr(layer, key) for key in ("stride", "padding", "dilation", "groups")}
        sizes = layer.in_channels, layer.out_channels, layer.kernel_size
        quantized = QuantConv2d(*sizes, bias=bias is not None, **shape, **settings)
    else:
        quantized = QuantLinear(*reversed(matrix.shape), bias=bias is not None, **settings)
    quantized.to(matrix.device).requires_grad_(False)  # calibrated grids stay as they are in training
    for parameter in (quantized.weight, quantized.bias):
        if parameter is not None:
            parameter.requires_grad_(any(own.requires_grad for own in layer.parameters()))
    quantized.weight.copy_(matrix.reshape(quantized.weight.shape))
    if bias is not None:
        quantized.bias.copy_(bias)
    rounded = quantized.quant_weight()
    found = (rounded.value.flatten(1) / scale.reshape(-1, 1)).round()
    integers = numerics.integer_weight(matrix, scale, layer.weight_limit, layer.precision.divide)
    quantized.weight.copy_(settled(matrix, found, integers, scale).reshape(quantized.weight.shape))
    if not torch.equal(rounded.scale.flatten(), scale.flatten()):
        raise RecipeError(
            f"{name} has a bias so large that it needs a larger weight scale than its weights do, which "
            "Brevitas cannot express: leave the layer in float32."
        )
    quantized.register_buffer("output_range", layer.output_range.clone())
    return BrevitasUpscale(quantized, layer.layout) if isinstance(layer.layout, UpscaleLayout) else quantized


def settled(weight: Tensor, found: Tensor, integers: Tensor, scale: Tensor) -> Tensor:
    """Return a weight (out, in) that rounds to `integers`: q · scale wherever `found` differs from q.

    Args:
        weight: (out, in) not rounded.
        found: (out, in) integers to which `weight` is rounded.
        integers: (out, in) q.
        scale: () or (out,).
    """
    return torch.where(found == integers, weight, integers * scale.reshape(-1, 1))


def _settings(layer: FakeQuantized, matrix: Tensor) -> dict[str, Any]:
    """The keyword arguments by which Brevitas builds its quantisers."""
    per_channel = layer.precision.per_channel
    settings: dict[str, Any] = {
        "weight_quant": Int8WeightPerChannelFloat if per_channel else Int8WeightPerTensorFloat,
        "weight_bit_width": _bits(layer.weight_limit),
        "weight_scaling_min_val": _dead_range(matrix, per_channel),
        "bias_quant": Int32Bias,
        "input_quant": _UnsignedGrid,
    }
    settings |= {f"input_{key}": value for key, value in _unsigned(layer.input_quantizer).items()}
    if layer.output_quantizer is not None:
        settings["output_quant"] = _UnsignedGrid
        settings |= {f"output_{key}": value for key, value in _unsigned(layer.output_quantizer).items()}
    return settings


def _dead_range(matrix: Tensor, per_channel: bool) -> float:
    """Return the range of a row of zeros, as ours has it now, below which no scale goes."""
    if not per_channel and matrix.any():
        return torch.finfo(matrix.dtype).tiny
    with_dead_row = torch.cat([matrix, torch.zeros_like(matrix[:1])])
    return float(numerics.weight_scale(with_dead_row, 1, per_channel).min())


def _unsigned(quantizer: ActivationQuantizer) -> dict[str, Tensor]:
    """Scale and, as Brevitas keeps it, zero point · scale."""
    return {
        "scaling_init": quantizer.scale.clone(),
        "zero_point_init": quantizer.zero_point * quantizer.scale,
    }


def _bits(limit: int) -> int:
    """The width of a narrow signed integer with |q| ≤ limit."""
    return limit.bit_length() + 1
