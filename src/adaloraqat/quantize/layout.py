"""How a layer becomes ONE matrix product over rows, the form in which every engine has integer kernels.

Linear layers are that already. A convolution whose stride equals its kernel (patch embedding, the prompt
encoder's mask branch, 1×1 convolutions) is a product over patches; a transposed convolution of that kind (the
mask decoder's upscaling) is a product followed by laying each row out as a small square. ONNX Runtime has no
integer transposed convolution at all: written as a product it runs in integers there too. Other convolutions
stay what they are (`ConvolutionLayout`).

Sizes other than the batch are taken as plain numbers: an exported graph may vary in its batch only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from adaloraqat.lowrank.adalora_layer import AdaptedQKV


@dataclass(frozen=True)
class Layout:
    """Rows are the last axis already: `nn.Linear`, `AdaptedQKV`."""

    def matrix(self, weight: Tensor) -> Tensor:
        """Return the weight as (rows out, features in)."""
        return weight

    def bias(self, bias: Tensor) -> Tensor:
        """Return the bias as (rows out,)."""
        return bias

    def gather(self, inputs: Tensor) -> Tensor:
        """Return the inputs as (..., features in)."""
        return inputs

    def multiply(self, inputs: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        """Return (..., rows out), the product of gathered inputs and matrix, plus bias."""
        return F.linear(inputs, matrix, bias)

    def scatter(self, outputs: Tensor) -> Tensor:
        """Return (..., rows out) in the layer's own output shape."""
        return outputs


@dataclass(frozen=True)
class PatchLayout(Layout):
    """`nn.Conv2d` with stride = kernel and no padding: (B, C, H, W) -> (B, out, H/k, W/k)."""

    height: int
    width: int

    def matrix(self, weight: Tensor) -> Tensor:
        """(out, C, k, k) -> (out, C·k·k)."""
        return weight.flatten(1)

    def gather(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H/k, W/k, C·k·k)."""
        channels, rows, columns = (int(size) for size in inputs.shape[1:])
        if self.height == self.width == 1:
            return inputs.permute(0, 2, 3, 1)
        patches = inputs.reshape(
            -1, channels, rows // self.height, self.height, columns // self.width, self.width
        ).permute(0, 2, 4, 1, 3, 5)  # (B, H/k, W/k, C, k, k)
        return patches.reshape(
            -1, rows // self.height, columns // self.width, channels * self.height * self.width
        )

    def scatter(self, outputs: Tensor) -> Tensor:
        """(B, h, w, out) -> (B, out, h, w)."""
        return outputs.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class UpscaleLayout(Layout):
    """`nn.ConvTranspose2d` with stride = kernel and no padding: (B, C, h, w) -> (B, out, h·k, w·k)."""

    height: int
    width: int

    def matrix(self, weight: Tensor) -> Tensor:
        """(C, out, k, k) -> (k·k·out, C), the output channel last so that laying out moves whole rows."""
        return weight.permute(2, 3, 1, 0).flatten(0, 2)

    def kernels(self, matrix: Tensor) -> Tensor:
        """Undo `matrix`."""
        return matrix.unflatten(0, (self.height, self.width, -1)).permute(3, 2, 0, 1)

    def bias(self, bias: Tensor) -> Tensor:
        """(out,) -> (k·k·out,)."""
        return bias.repeat(self.height * self.width)

    def gather(self, inputs: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, h, w, C)."""
        return inputs.permute(0, 2, 3, 1)

    def scatter(self, outputs: Tensor) -> Tensor:
        """(B, h, w, k·k·out) -> (B, out, h·k, w·k)."""
        rows, columns, features = (int(size) for size in outputs.shape[1:])
        channels = features // (self.height * self.width)
        squares = outputs.reshape(-1, rows, columns, self.height, self.width, channels)
        return squares.permute(0, 5, 1, 3, 2, 4).reshape(
            -1, channels, rows * self.height, columns * self.width
        )


@dataclass(frozen=True)
class ConvolutionLayout(Layout):
    """Any `nn.Conv2d` padded with zeros, left as the convolution that it is: (B, C, H, W) -> (B, out, h, w).

    Engines run it in integers where its output is quantised too.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def matrix(self, weight: Tensor) -> Tensor:
        """(out, C / groups, k, k) -> (out, C / groups · k · k)."""
        return weight.flatten(1)

    def kernels(self, matrix: Tensor) -> Tensor:
        """Undo `matrix`."""
        return matrix.unflatten(1, (-1, *self.kernel))

    def multiply(self, inputs: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        """(B, C, H, W) -> (B, out, h, w)."""
        kernels = self.kernels(matrix)
        return F.conv2d(inputs, kernels, bias, self.stride, self.padding, self.dilation, self.groups)


def convolution_of(layer: nn.Module) -> ConvolutionLayout | None:
    """Return the layout of `layer` as a convolution, or None if it is not one (or not padded with zeros)."""
    if not isinstance(layer, nn.Conv2d) or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    return ConvolutionLayout(
        _pair(layer.kernel_size),
        _pair(layer.stride),
        _pair(layer.padding),
        _pair(layer.dilation),
        layer.groups,
    )


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = sizes
    return int(rows), int(columns)


def layout_of(layer: nn.Module) -> Layout | None:
    """Return how `layer` becomes one matrix product, or None if it cannot."""
    if isinstance(layer, nn.Linear | AdaptedQKV):
        return Layout()
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and _non_overlapping(layer):
        height, width = layer.kernel_size
        return PatchLayout(height, width) if isinstance(layer, nn.Conv2d) else UpscaleLayout(height, width)
    return None


def _non_overlapping(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    return (
        tuple(layer.stride) == tuple(layer.kernel_size)
        and layer.padding in ((0, 0), "valid")
        and tuple(layer.dilation) == (1, 1)
        and tuple(layer.output_padding) == (0, 0)
        and layer.groups == 1
    )
