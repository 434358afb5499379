"""A model in the layers of Brevitas, trained there or written by `to_brevitas`, in ours.

What ours cannot hold is refused with a sentence: weights that are not signed and symmetric of 7 or 8 bits, or
whose scale does not follow from the largest weight; inputs without a grid of 8 bits; layers other than linear
ones, convolutions and attention's products.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from brevitas.nn import QuantConv2d, QuantLinear
from brevitas.nn.mixin import QuantLayerMixin
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjector, DynamicActQuantProxyFromInjector
from brevitas.quant_tensor import IntQuantTensor
from torch import Tensor, nn
from torch.nn.utils import skip_init

from adaloraqat.errors import RecipeError
from adaloraqat.quantize import numerics
from adaloraqat.quantize.brevitas_exchange.outgoing import BrevitasProduct, BrevitasUpscale, settled
from adaloraqat.quantize.fake_product import FakeQuantizedProduct
from adaloraqat.quantize.fake_quantize import ActivationQuantizer, FakeQuantized
from adaloraqat.quantize.layout import convolution_of, layout_of
from adaloraqat.quantize.policy import PrecisionPolicy, WeightRange
from adaloraqat.quantize.prepare import prepare

__all__ = ["from_brevitas"]

Model = TypeVar("Model", bound=nn.Module)

_ROUNDING = 1e-6  # of a product or quotient in float32, relative, with room
_RANGES: dict[int, WeightRange] = {63: "portable", 127: "full"}  # by the largest |q|


@torch.no_grad()
def from_brevitas(model: Model) -> Model:
    """Return a copy of a model whose Brevitas layers are fake-quantised layers of ours, ready for `convert`.

    `QuantLinear`, `QuantConv2d`, `BrevitasUpscale` and `BrevitasProduct` are taken; names stay. Integers and
    zero points are exactly Brevitas', scales equal within float rounding, unrounded weights kept where they
    round as Brevitas rounds them. A layer that `to_brevitas` did not write does not know the range of its
    outputs, the unit of parity: run films through the result within `calibrate.observing_outputs`.

    Raises:
        RecipeError: nothing in the model is Brevitas', or ours cannot express a layer; it says which and why.
    """
    copied = copy.deepcopy(model)
    taken: list[str] = []
    for name, module in list(copied.named_modules()):
        if name.startswith(tuple(f"{parent}." for parent in taken)):
            continue
        replacement = _replacement(module, name)
        if replacement is not None:
            copied.set_submodule(name, replacement.train(module.training))
            taken.append(name)
    if not taken:
        raise RecipeError("The model has no layer of Brevitas: give one that to_brevitas() or Brevitas made.")
    return copied


def _replacement(module: nn.Module, name: str) -> nn.Module | None:
    if isinstance(module, BrevitasProduct):
        return _product(module, name)
    if isinstance(module, BrevitasUpscale):
        return _upscale(module, name)
    if isinstance(module, QuantLinear | QuantConv2d):
        return _layer(module, name)
    if isinstance(module, QuantLayerMixin):
        raise RecipeError(
            f"{name} is a {type(module).__name__} of Brevitas, for which there is no layer here: quantise "
            "the inputs of linear layers and convolutions instead."
        )
    return None


def _layer(layer: Any, name: str) -> FakeQuantized:
    """Take over a `QuantLinear` or `QuantConv2d`."""
    training = layer.training
    layer.eval()  # reading a grid must not move its statistics
    integers, scale, limit = _integers(layer, name)
    ours = _prepared(_plain(layer), _precision(layer, scale, name), limit)
    _set_grid(ours.input_quantizer, *_unsigned_grid(layer.input_quant, f"the input of {name}"))
    if ours.output_quantizer is not None:
        _set_grid(ours.output_quantizer, *_unsigned_grid(layer.output_quant, f"the output of {name}"))
    if layer.bias is not None:
        step = ours.input_quantizer.scale * scale
        ours.register_parameter("bias", _parameter(_bias(layer, step), layer.bias))
    _set_weight(ours, layer.weight, integers, scale, name)
    observed = dict(layer.named_buffers(recurse=False)).get("output_range")
    if observed is not None:
        ours.output_range.copy_(observed)
    return ours.train(training)


def _integers(layer: Any, name: str) -> tuple[Tensor, Tensor, int]:
    """Return q (out, in), scale () or (out,), and the largest |q| that its width allows."""
    weight = layer.quant_weight()
    limit = _symmetric_limit(weight)
    if limit is None:
        raise RecipeError(
            f"The weight of {name} is no signed, symmetric integer of 7 or 8 bits in Brevitas, and ours are: "
            "quantise it by Int8WeightPerChannelFloat or Int8WeightPerTensorFloat (weight_bit_width=7 where "
            "every CPU shall compute it exactly)."
        )
    scale = weight.scale.flatten()
    integers = (weight.value.flatten(1) / scale.reshape(-1, 1)).round()
    return integers, scale if weight.scale.dim() > 1 else scale.reshape(()), limit


def _symmetric_limit(tensor: Any) -> int | None:
    """Return 63 or 127, the largest |q| of a signed, symmetric `IntQuantTensor` of 7 or 8 bits; else None."""
    if not isinstance(tensor, IntQuantTensor) or not tensor.signed or tensor.zero_point.any():
        return None
    limit = 2 ** (float(tensor.bit_width) - 1) - 1
    return int(limit) if limit in _RANGES else None


def _precision(layer: Any, scale: Tensor, name: str) -> str:
    """Return which of our precisions a layer of Brevitas has."""
    rounded = layer.output_quant.is_quant_enabled
    if isinstance(layer, nn.Conv2d) and convolution_of(layer) is None:
        raise RecipeError(
            f"{name} is padded by its kind {layer.padding!r}: give its padding in numbers, of zeros."
        )
    if not rounded:
        if layout_of(layer) is None:
            raise RecipeError(
                f"{name} is a convolution whose output is not quantised, which no engine computes in "
                "integers: give it an 8-bit output_quant."
            )
        return "int8 per channel" if scale.dim() else "int8 per tensor"
    if not isinstance(layer, nn.Conv2d) or not scale.dim():
        raise RecipeError(
            f"{name} has a quantised output, which only convolutions with a weight scale for each output "
            "channel have here: quantise the input of the next layer instead."
        )
    return "int8 convolution"


def _plain(layer: Any) -> nn.Module:
    """Return the float layer of the same shape, its values not yet set."""
    biased = layer.bias is not None
    device = layer.weight.device
    if isinstance(layer, nn.Conv2d):
        shape = {key: getattr(layer, key) for key in ("stride", "padding", "dilation", "groups")}
        sizes = layer.in_channels, layer.out_channels, layer.kernel_size
        return skip_init(nn.Conv2d, *sizes, bias=biased, **shape, device=device)
    return skip_init(nn.Linear, layer.in_features, layer.out_features, bias=biased, device=device)


def _prepared(plain: nn.Module, precision: str, limit: int) -> FakeQuantized:
    policy = PrecisionPolicy("brevitas", (("*", precision),), _RANGES[limit])
    prepared = prepare(nn.Sequential(plain), policy)[0]
    assert isinstance(prepared, FakeQuantized)
    return prepared


def _set_weight(ours: FakeQuantized, weight: Tensor, integers: Tensor, scale: Tensor, name: str) -> None:
    """Give ours the unrounded weight, clipped as Brevitas clips it, and q · scale where a tie differs."""
    bound = ours.weight_limit * scale.reshape(-1, 1)
    clipped = weight.detach().flatten(1)
    beyond = clipped.abs() > bound * (1 + _ROUNDING)  # the largest weight itself is none
    clipped = torch.where(beyond, clipped.clamp(-bound, bound), clipped)
    found, _ = _assign(ours, clipped, weight)
    found, own_scale = _assign(ours, settled(clipped, found, integers, scale), weight)
    if not (
        torch.equal(found, integers.to(torch.int8))
        and torch.allclose(own_scale, scale, rtol=_ROUNDING, atol=0)
    ):
        raise RecipeError(
            f"The weight scale of {name} in Brevitas is not its largest weight by {ours.weight_limit}, as "
            "ours is: train it with a scale that follows the weights (Int8WeightPerChannelFloat, "
            "Int8WeightPerTensorFloat)."
        )


def _assign(ours: FakeQuantized, matrix: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Set the weight from (out, in); return what ours makes of it: integers (out, in) and scale."""
    ours.register_parameter("weight", _parameter(matrix.reshape(like.shape), like))
    own, _, scale = ours.product_terms()
    return numerics.integer_weight(own, scale, ours.weight_limit, ours.precision.divide), scale


def _bias(layer: Any, step: Tensor) -> Tensor:
    """Return the unrounded bias (out,), or Brevitas' value of it where that is not a rounding to `step`."""
    inputs = layer.weight.new_zeros((1, *layer.weight.shape[1:]))
    if isinstance(layer, nn.Conv2d):
        inputs = layer.weight.new_zeros((1, layer.in_channels, 1, 1))
    rounded = layer.bias_quant(layer.bias, layer.input_quant(inputs), layer.quant_weight())
    value = rounded.value if isinstance(rounded, IntQuantTensor) else rounded
    return torch.where((value - layer.bias).abs() <= 0.51 * step, layer.bias, value)


def _unsigned_grid(proxy: Any, what: str) -> tuple[Tensor, Tensor]:
    """Return scale () and zero point () of a proxy's grid as an unsigned one of 8 bits.

    A signed grid of 8 bits is the unsigned one whose zero point is larger by 128.
    """
    grid = _grid(proxy, what)
    lowest = -(2.0 ** (float(grid.bit_width) - 1)) if grid.signed else 0.0
    zero_point = (grid.zero_point - lowest).reshape(())
    if float(grid.bit_width) != 8 or proxy.is_narrow_range or zero_point != zero_point.round().clamp(0, 255):
        raise RecipeError(
            f"The grid of {what} in Brevitas has not 256 steps with one of them at 0, as ours have: quantise "
            "it to 8 bits, not narrow, with a whole zero point (ShiftedUint8ActPerTensorFloat, "
            "Int8ActPerTensorFloat)."
        )
    return grid.scale.reshape(()), zero_point


def _grid(proxy: Any, what: str) -> Any:
    """Return an `IntQuantTensor` that has the fixed grid of an activation's proxy."""
    dynamic = isinstance(proxy, DynamicActQuantProxyFromInjector)
    if isinstance(proxy, ActQuantProxyFromInjector) and proxy.is_quant_enabled and not dynamic:
        grid = proxy.internal_forward(force_eval=True)
        if grid.scale.numel() == grid.zero_point.numel() == 1:
            return grid
    raise RecipeError(
        f"Brevitas has no fixed integer grid of one scale for {what}: give that layer itself an 8-bit "
        "quantiser (Int8ActPerTensorFloat, ShiftedUint8ActPerTensorFloat)."
    )


def _set_grid(quantizer: ActivationQuantizer, scale: Tensor, zero_point: Tensor) -> None:
    quantizer.scale.copy_(scale)
    quantizer.zero_point.copy_(zero_point)
    quantizer.calibrated.fill_(True)


def _product(module: BrevitasProduct, name: str) -> FakeQuantizedProduct:
    right = _grid(module.right.act_quant, f"the right factor of {name}")
    limit = _symmetric_limit(right)
    if limit is None or not module.right.act_quant.is_narrow_range:
        raise RecipeError(
            f"The right factor of {name} is no signed, symmetric, narrow integer of 7 or 8 bits in Brevitas, "
            "and ours are: quantise it so."
        )
    product = FakeQuantizedProduct(limit).to(right.scale.device)
    _set_grid(product.left_quantizer, *_unsigned_grid(module.left.act_quant, f"the left factor of {name}"))
    _set_grid(product.right_quantizer, right.scale.reshape(()), right.zero_point.reshape(()))
    product.output_range.copy_(module.output_range)
    return product


def _upscale(module: BrevitasUpscale, name: str) -> FakeQuantized:
    """Take over the product, then lay its matrix out as the weight of a transposed convolution."""
    product, layout = _layer(module.product, name), module.layout
    matrix, bias = product.float_weight(), product.float_bias()
    weight = layout.kernels(matrix)
    size = layout.height, layout.width
    plain = skip_init(
        nn.ConvTranspose2d, *weight.shape[:2], size, size, bias=bias is not None, device=matrix.device
    )
    plain.register_parameter("weight", _parameter(weight, matrix))
    if bias is not None:
        copies = bias.unflatten(0, (layout.height * layout.width, -1))
        if not torch.equal(copies, copies[:1].expand_as(copies)):
            raise RecipeError(
                f"The bias of {name} differs within the square that a value is laid out to, where a "
                "transposed convolution has one: keep it frozen in Brevitas, as to_brevitas() left it."
            )
        plain.register_parameter("bias", _parameter(copies[0], bias))
    per_channel = product.precision.per_channel
    ours = _prepared(plain, "int8 per channel" if per_channel else "int8 per tensor", product.weight_limit)
    ours.input_quantizer.load_state_dict(product.input_quantizer.state_dict())
    ours.output_range.copy_(product.output_range)
    return ours


def _parameter(values: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(values.clone(), requires_grad=like.requires_grad)
