"""Fake quantisation for training: float tensors that take only the values an integer model can hold.

A thin layer over torch's `fake_quantize_*` operators. Weight scales are recomputed from the current weight in
every forward pass, so that they follow training (and Λ, where adapters are part of the weight). Activation
ranges are calibrated and kept in buffers, so that a state_dict restores them.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from adaloraqat.lowrank.adalora_layer import AdaptedQKV
from adaloraqat.models.attention import MatrixProduct
from adaloraqat.quantize import numerics
from adaloraqat.quantize.layout import Layout
from adaloraqat.quantize.policy import Precision


class RangeObserver:
    """The range of an activation: the smallest and the largest value that flowed through the layer."""

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


class ActivationQuantizer(nn.Module):
    """Unsigned 8-bit fake quantisation of one tensor, with a calibrated range.

    Attributes:
        scale: () float32 buffer.
        zero_point: () int32 buffer.
        calibrated: () bool buffer.
        observer: the collecting `RangeObserver` while `calibrate` runs, else None.
    """

    scale: Tensor
    zero_point: Tensor
    calibrated: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("zero_point", torch.zeros((), dtype=torch.int32))
        self.register_buffer("calibrated", torch.zeros((), dtype=torch.bool))
        self.observer: RangeObserver | None = None

    @torch.no_grad()
    def set_range(self, low: Tensor, high: Tensor) -> None:
        """Take [low, high], widened to contain 0, as the calibrated range."""
        scale, zero_point = numerics.activation_parameters(low, high)
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)
        self.calibrated.fill_(True)

    def forward(self, values: Tensor) -> Tensor:
        """Return `values` on the grid; unchanged while a calibration is observing.

        Raises:
            RuntimeError: `calibrate` has not run yet.
        """
        if self.observer is not None:
            self.observer.update(values)
            return values
        if not self.calibrated:
            raise RuntimeError("this layer has no activation range yet: run calibrate() before using it")
        return self.quantize(values)

    def quantize(self, values: Tensor) -> Tensor:
        """Return `values` on the grid."""
        return numerics.fake_quantize_activation(values, self.scale, self.zero_point)


class SymmetricQuantizer(ActivationQuantizer):
    """Signed fake quantisation of one tensor with |q| ≤ `limit` and zero point 0, with a calibrated range."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    @torch.no_grad()
    def set_range(self, low: Tensor, high: Tensor) -> None:
        """Take the smallest symmetric range that covers [low, high]."""
        self.scale.copy_(numerics.symmetric_scale(low, high, self.limit))
        self.calibrated.fill_(True)

    def quantize(self, values: Tensor) -> Tensor:
        """Return `values` on the grid."""
        return numerics.fake_quantize_symmetric(values, self.scale, self.limit)


class FakeQuantized(nn.Module):
    """What the fake-quantised layers share: input and weight on integer grids, float in and out.

    Mixed into subclasses of the layers they replace, so that parameter names, `isinstance` and state_dict
    keys stay what they were; only the quantiser's buffers are new.

    Attributes:
        input_quantizer: the input's grid.
        output_quantizer: the output's grid, where the precision asks for one, else None.
        output_range: (2,) buffer, smallest and largest output seen in calibration. It quantises nothing: it
            defines the 1 LSB by which parity is judged, (high - low) / 255.
        precision: what the policy asked for.
        weight_limit: largest |q| of the weight.
        layout: how the layer becomes one matrix product.
    """

    output_range: Tensor
    input_quantizer: ActivationQuantizer
    output_quantizer: ActivationQuantizer | None
    precision: Precision
    weight_limit: int
    layout: Layout
    weight: Tensor
    bias: Tensor | None

    def start_quantizing(self, layout: Layout, precision: Precision, weight_limit: int) -> None:
        """Add the quantisers to a layer that already holds its parameters."""
        self.layout, self.precision, self.weight_limit = layout, precision, weight_limit
        device = next(self.parameters()).device
        self.input_quantizer = ActivationQuantizer().to(device)
        self.output_quantizer = ActivationQuantizer().to(device) if precision.outputs else None
        self.register_buffer("output_range", torch.zeros(2, device=device))
        self.output_observer: RangeObserver | None = None

    def float_weight(self) -> Tensor:
        """Return the float weight the layer deploys (adapters included), in the layer's own shape."""
        return self.weight

    def product_terms(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return the float matrix (out, in), float bias (out,) or None, and the weight scale () or (out,)."""
        matrix = self.layout.matrix(self.float_weight())
        bias = None if self.bias is None else self.layout.bias(self.bias)
        scale = numerics.weight_scale(matrix, self.weight_limit, self.precision.per_channel)
        return matrix, bias, numerics.scale_with_room_for_bias(scale, bias, self.input_quantizer.scale)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute with input, weight and bias on their integer grids; shapes as of the float layer."""
        return self.layout.scatter(self.product(self.layout.gather(inputs)))

    def product(self, rows: Tensor) -> Tensor:
        """Map (..., in) to (..., out): the layer as one product, which is what an engine executes."""
        quantized = self.input_quantizer(rows)
        matrix, bias, scale = self.product_terms()
        if self.output_observer is None:  # while observing, the float layer is what is observed
            matrix = numerics.fake_quantize_weight(matrix, scale, self.weight_limit, self.precision.divide)
            if bias is not None:
                bias = numerics.fake_quantize_bias(bias, self.input_quantizer.scale * scale)
        outputs = self.layout.multiply(quantized, matrix, bias)
        if self.output_observer is not None:
            self.output_observer.update(outputs)
        return outputs if self.output_quantizer is None else self.output_quantizer(outputs)

    def output_step(self) -> float:
        """Return 1 LSB of the output: its own grid's step, or (high - low) / 255 of what calibration saw."""
        if self.output_quantizer is not None:
            return float(self.output_quantizer.scale)
        return observed_step(self.output_range)


def observed_step(output_range: Tensor) -> float:
    """Return (high - low) / 255 of an observed range (2,), positive."""
    low, high = (float(bound) for bound in output_range)
    return max(high - low, torch.finfo(torch.float32).eps) / numerics.ACTIVATION_LEVELS


class FakeQuantizedLinear(FakeQuantized, nn.Linear):  # type: ignore[misc]
    """A fake-quantised `nn.Linear`."""


class FakeQuantizedConv2d(FakeQuantized, nn.Conv2d):
    """A fake-quantised `nn.Conv2d`."""


class FakeQuantizedConvTranspose2d(FakeQuantized, nn.ConvTranspose2d):  # type: ignore[misc]
    """A fake-quantised `nn.ConvTranspose2d` whose stride equals its kernel."""


class FakeQuantizedQKV(FakeQuantized, AdaptedQKV):
    """A fake-quantised `AdaptedQKV`: W + PΛQ is ONE weight, and its scales follow Λ."""

    def float_weight(self) -> Tensor:
        """Return W + PΛQ, (3d, in)."""
        return self.effective_weight()


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
