"""A convolution that does not learn, of which a training step keeps nothing but the weight.

PyTorch keeps the input of every convolution for the gradient of its weight, also where the weight is frozen.
With adapters in a frozen encoder that is a tenth of a step's memory.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input


def frozen_convolution(convolution: nn.Conv2d, gain: Tensor, bias: Tensor, inputs: Tensor) -> Tensor:
    """Return gain · convolution(inputs) + bias, of which only the inputs get a gradient.

    Args:
        convolution: without a bias of its own; its padding is of zeros.
        gain: of each output, (out,).
        bias: of each output, (out,).
        inputs: (B, in, H, W).
    """
    weight = convolution.weight.detach() * gain[:, None, None, None]
    return _Frozen.apply(inputs, weight, bias, convolution)


class _Frozen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, convolution: nn.Conv2d) -> Tensor:
        output = F.conv2d(inputs, weight, bias, **_geometry(convolution))
        # under autocast the output is in half precision, and so is the gradient that comes back
        ctx.save_for_backward(weight.to(output.dtype))
        ctx.shape, ctx.kind, ctx.convolution = inputs.shape, inputs.dtype, convolution
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        into = conv2d_input(ctx.shape, weight, gradient, **_geometry(ctx.convolution))
        return into.to(ctx.kind), None, None, None


def _geometry(convolution: nn.Conv2d) -> dict[str, Any]:
    names = ("stride", "padding", "dilation", "groups")
    return {name: getattr(convolution, name) for name in names}
