"""Our quantised layers against Brevitas', an independent implementation, on the same weights and ranges.

    pip install -c constraints.txt brevitas
    python benchmarks/brevitas_parity.py [--out benchmarks/results/brevitas_parity.json]

Every fake-quantised layer of a small LiteMedSAM under the policy `qmedsam` is built again in Brevitas from the same
float weights and calibrated ranges: integers, scales, zero points and outputs are compared layer by layer, then
the answer of the whole model. Half a minute, 1 GB of memory. Ends with 1 where something differs that should not. (A script called brevitas.py
would import itself.)

- Weights: signed, narrow, of 7 bits (|q| <= 63); the scale is the largest weight of a row by 63. Brevitas divides by
  the scale where torch multiplies by its reciprocal, so a weight half way between two steps may go the other way.
- Inputs: unsigned, 8 bits. Bias: 32 bits at input scale times weight scale.
- A transposed convolution is the product that it is in ours: Brevitas has one scale an output channel, ours k * k.
- Attention's products and what is stored in 16 bits stay ours.
"""

import argparse
import copy
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from brevitas.core.utils import SingleArgStatelessBuffer
from brevitas.core.zero_point import ParameterZeroPoint
from brevitas.inject.enum import ScalingImplType
from brevitas.nn import QuantConv2d, QuantLinear
from brevitas.quant.base import PerTensorFloatScaling8bit, UintQuant
from brevitas.quant.scaled_int import Int8WeightPerChannelFloat, Int32Bias
from brevitas.quant.solver.act import ActQuantSolver
from machine import machine
from torch import Tensor, nn

from adaloraqat.files import write_json
from adaloraqat.models.families import build
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize import numerics
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.fake_quantize import ActivationQuantizer, FakeQuantized
from adaloraqat.quantize.layout import UpscaleLayout
from adaloraqat.quantize.policy import POLICIES
from adaloraqat.quantize.preparation import fake_quantized_layers, prepare

ROUNDING = 1e-5  # of float sums, relative to the largest output
MOST_TIES = 1e-3  # share of a convolution's outputs that may round to the next step


class UnsignedGrid(UintQuant, PerTensorFloatScaling8bit, ActQuantSolver):
    """An input's grid: the scale itself is the parameter, not a range that a division would round."""

    scaling_impl_type = ScalingImplType.PARAMETER
    int_scaling_impl = SingleArgStatelessBuffer(1.0)
    zero_point_impl = ParameterZeroPoint
    quantize_zero_point = True


class Upscale(nn.Module):
    """A transposed convolution whose stride equals its kernel, as a product that is laid out."""

    def __init__(self, product: Any, layout: UpscaleLayout) -> None:
        super().__init__()
        self.product, self.layout = product, layout

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layout.scatter(self.product(self.layout.gather(inputs)))


def brevitas_layer(layer: FakeQuantized) -> Any:
    """Return the `QuantLinear` or `QuantConv2d` of the same float weights and calibrated grids."""
    matrix, bias, _ = layer.product_terms()
    settings = {
        "weight_quant": Int8WeightPerChannelFloat,
        "weight_bit_width": 7,
        "weight_scaling_min_val": float(matrix.abs().max()) * 1e-4,
        "bias_quant": Int32Bias,
        **_grid("input", layer.input_quantizer),
    }
    if layer.output_quantizer is not None:
        settings |= _grid("output", layer.output_quantizer)
    if isinstance(layer, nn.Conv2d):
        shape = {key: getattr(layer, key) for key in ("stride", "padding", "dilation", "groups")}
        sizes = layer.in_channels, layer.out_channels, layer.kernel_size
        found = QuantConv2d(*sizes, bias=bias is not None, **shape, **settings)
    else:
        found = QuantLinear(*reversed(matrix.shape), bias=bias is not None, **settings)
    found.weight.copy_(matrix.reshape(found.weight.shape))
    if bias is not None:
        found.bias.copy_(bias)
    return found.eval()


def _grid(name: str, quantizer: ActivationQuantizer) -> dict[str, Any]:
    """Scale and, as Brevitas keeps it, zero point times scale."""
    return {
        f"{name}_quant": UnsignedGrid,
        f"{name}_scaling_init": quantizer.scale.clone(),
        f"{name}_zero_point_init": quantizer.zero_point * quantizer.scale,
    }


def compare_layer(layer: FakeQuantized, theirs: Any, inputs: Tensor | None) -> dict[str, Any]:
    """Compare integers, scales and grids, and the outputs for `inputs` put on the layer's grid."""
    matrix, _, scale = layer.product_terms()
    weight = theirs.quant_weight()
    integers = (weight.value.flatten(1) / weight.scale.reshape(-1, 1)).round().to(torch.int8)
    apart = (integers - numerics.integer_weight(matrix, scale, layer.weight_limit)).abs()
    quantizer = layer.input_quantizer
    found = {
        "weights": apart.numel(),
        "weights_apart": int((apart > 0).sum()),
        "most_apart": int(apart.max()),
        "scales_equal": torch.equal(weight.scale.flatten(), scale.flatten()),
        "grid_equal": torch.equal(theirs.input_quant.scale(), quantizer.scale)
        and bool(theirs.input_quant.zero_point() == quantizer.zero_point),
    }
    if inputs is None:  # the mask branch, where only boxes are given
        return found
    given = quantizer(inputs)
    expected = layer(given)
    placed = Upscale(theirs, layer.layout) if isinstance(layer.layout, UpscaleLayout) else theirs
    difference = (placed(given) - expected).abs()
    beyond = difference > ROUNDING * expected.abs().max()
    return found | {
        "outputs_apart": float(beyond.float().mean()),
        "rounded": layer.output_quantizer is not None,
    }


def sound(found: dict[str, Any]) -> bool:
    """Whether a layer agrees but for ties."""
    ties = MOST_TIES if found.get("rounded") else 0
    equal = found["scales_equal"] and found["grid_equal"] and found["most_apart"] <= 1
    return (
        equal and found["weights_apart"] <= 1e-4 * found["weights"] and found.get("outputs_apart", 0) <= ties
    )


@torch.no_grad()
def answer(model: Any, images: Tensor, boxes: Tensor) -> tuple[Tensor, ...]:
    """Return embedding, logits and quality."""
    embedding = encode(model, images)
    return embedding, *decode(model, embedding, boxes)


def small_model(images: Tensor, boxes: Tensor) -> Any:
    """Return a LiteMedSAM as stage 2 leaves it, its normalisations not those of birth."""
    torch.manual_seed(0)
    model = build(architecture("lite_medsam_tiny").to_dict()).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2.0)
            module.running_mean.normal_(std=0.1)
            nn.init.normal_(module.weight, 1.0, 0.1)
            nn.init.normal_(module.bias, 0.0, 0.1)
    return calibrate(prepare(model, POLICIES["qmedsam"]), [(images, boxes)])


@torch.no_grad()
def measure() -> dict[str, Any]:
    """Compare every layer, then the whole model with the difference that a change of the film by 1e-6 makes."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 1, 64, 64, generator=generator)
    boxes = (torch.rand(2, 2, 2, 2, generator=generator).sort(dim=2).values * 64).flatten(2)
    model = small_model(images, boxes)
    layers, inputs = fake_quantized_layers(model), {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, given, name=name: inputs.__setitem__(name, given[0]))
        for name, layer in layers.items()
    ]
    expected = answer(model, images, boxes)
    for hook in hooks:
        hook.remove()
    theirs = copy.deepcopy(model)
    results = {}
    for name, layer in layers.items():
        built = brevitas_layer(layer)
        results[name] = compare_layer(layer, built, inputs.get(name))
        upscales = isinstance(layer.layout, UpscaleLayout)
        theirs.set_submodule(name, Upscale(built, layer.layout) if upscales else built)
    floor = answer(model, images * (1 + 1e-6), boxes)
    found = answer(theirs, images, boxes)
    grids = [value for name, value in theirs.named_parameters() if name.endswith("scaling_impl.value")]
    grids[0].mul_(1.1)  # it IS Brevitas that computes: one of its grids moves the answer
    moved = answer(theirs, images, boxes)
    whole = {
        part: {"apart": float((a - b).abs().mean()), "noise_floor": float((c - b).abs().mean())}
        for part, a, b, c in zip(("embedding", "logits", "quality"), found, expected, floor, strict=True)
    }
    return {
        "model": "lite_medsam_tiny, random weights, qmedsam, portable",
        "layers": len(results),
        "weights": sum(one["weights"] for one in results.values()),
        "weights_apart": sum(one["weights_apart"] for one in results.values()),
        "layers_that_differ": [name for name, one in results.items() if not sound(one)],
        "most_outputs_apart": max(one.get("outputs_apart", 0.0) for one in results.values()),
        "whole_model": whole,
        "moved_by_a_wrong_scale": float((moved[0] - expected[0]).abs().mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "brevitas_parity.json"
    )
    out = parser.parse_args().out
    # Brevitas says so of every layer whose input has a zero point: it returns a plain tensor then, as we want.
    warnings.filterwarnings("ignore", "Computing zero point of output accumulator", UserWarning)
    found = measure()
    write_json(out, {**found, "machine": machine(), "command": "python benchmarks/brevitas_parity.py"})
    print(f"{found['layers']} layers, {found['weights']:,} weights, {found['weights_apart']} integers apart")
    far = any(part["apart"] > part["noise_floor"] for part in found["whole_model"].values())
    sys.exit(1 if found["layers_that_differ"] or far or not found["moved_by_a_wrong_scale"] else 0)


if __name__ == "__main__":
    main()
