"""The numerics of quantisation, once: for training, calibration, conversion and the ONNX file.

Weights: signed, symmetric (zero point 0), |q| ≤ limit, scale = max|w| / limit, per tensor or per output row.
Activations: unsigned 8 bits, asymmetric, per tensor, from a calibrated range that always contains 0.
Where two activations are multiplied (attention), the right one is signed and symmetric like a weight, per
tensor, with a calibrated range.
Bias: int32 at scale s_input · s_weight, so that an engine adds it to the integer sums.
"""

from __future__ import annotations

import torch
from torch import Tensor

ACTIVATION_LEVELS = 255
"""Steps of an unsigned 8-bit activation: q runs from 0 to 255."""

_SMALLEST_CHANNEL = 1e-4  # a dead row gets this part of the tensor's largest weight as its range
_LARGEST_BIAS = float(2**30)  # |q| of a bias stays within int32 with room for the sum it is added to
_DEAD_RANGE = 1e-6  # an activation that varies less is dead, and gets a range of 1


def weight_scale(weight: Tensor, limit: int, per_channel: bool) -> Tensor:
    """Return the symmetric scale of a weight matrix, positive and finite also for dead rows and dead tensors.

    Args:
        weight: (out, in).
        limit: largest |q|, 63 or 127.
        per_channel: one scale for each output row.

    Returns:
        (out,) if per_channel, else (). It is detached: a scale follows the weight, it does not train.
    """
    magnitude = weight.detach().abs()
    largest = magnitude.amax()
    largest = torch.where(largest > 0, largest, torch.ones_like(largest))
    if per_channel:
        largest = torch.maximum(magnitude.amax(dim=1), largest * _SMALLEST_CHANNEL)
    return largest / limit


def scale_with_room_for_bias(scale: Tensor, bias: Tensor | None, input_scale: Tensor) -> Tensor:
    """Return `scale`, enlarged where |bias| would not fit int32 at s_input · s_weight (dead rows only)."""
    if bias is None:
        return scale
    needed = bias.detach().abs() / (input_scale * _LARGEST_BIAS)  # (out,)
    return torch.maximum(scale, needed if scale.dim() else needed.amax())


def fake_quantize_weight(weight: Tensor, scale: Tensor, limit: int, divide: bool = False) -> Tensor:
    """Round an (out, in) weight to its grid of scale () or (out,); the gradient passes straight through.

    Args:
        weight: (out, in).
        scale: () or (out,).
        limit: largest |q|.
        divide: round w / scale, as Brevitas does, half to even; else w times the reciprocal of the scale, as
            torch's operators do. The two differ by one step in about one of three million weights.
    """
    if divide:
        steps = torch.round(weight.detach() / _column(scale)).clamp(-limit, limit)
        return steps * _column(scale) + (weight - weight.detach())  # the difference is exactly 0
    if scale.dim():
        zero = torch.zeros(scale.shape, dtype=torch.int32, device=scale.device)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -limit, limit)
    zero = torch.zeros((), dtype=torch.int32, device=scale.device)
    return torch.fake_quantize_per_tensor_affine(weight, scale, zero, -limit, limit)


def integer_weight(weight: Tensor, scale: Tensor, limit: int, divide: bool = False) -> Tensor:
    """Return the int8 (out, in) tensor q with q · scale = `fake_quantize_weight` of the same arguments."""
    rounded = fake_quantize_weight(weight.detach(), scale, limit, divide)
    return torch.round(rounded / _column(scale)).to(torch.int8)


def fake_quantize_bias(bias: Tensor, scale: Tensor) -> Tensor:
    """Round a (out,) bias to multiples of s_input · s_weight; the gradient passes straight through."""
    return bias + (torch.round(bias.detach() / scale) * scale - bias.detach())


def integer_bias(bias: Tensor, scale: Tensor) -> Tensor:
    """Return the int32 (out,) bias at `scale`, which is () or (out,)."""
    return torch.round(bias.detach() / scale).to(torch.int32)


def activation_parameters(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale () float32 and zero point () int32 of the 8-bit grid that covers [low, high] and 0.

    A range of no width (a dead activation) gets the width 1: a positive scale, and one at which any bias
    fits.
    """
    low = torch.clamp(low.float(), max=0.0)
    high = torch.clamp(high.float(), min=0.0)
    width = high - low
    scale = torch.where(width > _DEAD_RANGE, width, torch.ones_like(width)) / ACTIVATION_LEVELS
    zero_point = torch.clamp(torch.round(-low / scale), 0, ACTIVATION_LEVELS).to(torch.int32)
    return scale, zero_point


def fake_quantize_activation(values: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """Round to the unsigned 8-bit grid; the gradient is 1 inside the range and 0 where it is clipped."""
    return torch.fake_quantize_per_tensor_affine(values, scale, zero_point, 0, ACTIVATION_LEVELS)


def symmetric_scale(low: Tensor, high: Tensor, limit: int) -> Tensor:
    """Return the scale () of a signed activation, |q| ≤ limit, that covers [low, high] (dead: 1)."""
    largest = torch.maximum(low.float().abs(), high.float().abs())
    return torch.where(largest > _DEAD_RANGE, largest, torch.ones_like(largest)) / limit


def fake_quantize_symmetric(values: Tensor, scale: Tensor, limit: int) -> Tensor:
    """Round to the signed grid of scale (); the gradient is 1 inside the range and 0 where it is clipped."""
    zero = torch.zeros((), dtype=torch.int32, device=scale.device)
    return torch.fake_quantize_per_tensor_affine(values, scale, zero, -limit, limit)


def _column(scale: Tensor) -> Tensor:
    return scale.unsqueeze(1) if scale.dim() else scale
