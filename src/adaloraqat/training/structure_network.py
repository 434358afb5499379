"""The network that tells right lung, left lung and heart apart, from an embedding."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

STRUCTURES = ("right lung", "left lung", "heart")
"""The planes of the head's answer. Right lung: the one at the image's left."""
_REGIONS = 4
_SIDE_FEATURES = 12


class ConvolutionBlock(nn.Module):
    """Convolution, normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1) -> None:
        """Make a block of `size` x `size` convolutions."""
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
        self.norm: nn.BatchNorm2d | None = nn.BatchNorm2d(outputs)

    def forward(self, plane: Tensor) -> Tensor:
        """Return (B, outputs, g / stride, g / stride)."""
        plane = self.convolution(plane)
        return F.relu(plane if self.norm is None else self.norm(plane))

    def fuse(self) -> None:
        """Make the normalisation part of the convolution, for good: nothing can be trained after it."""
        if self.norm is not None:
            self.convolution, self.norm = fuse_conv_bn_eval(self.convolution, self.norm), None


class StructureHead(nn.Module):
    """From an embedding (B, D, g, g) to logits (B, 3, n, n) of `STRUCTURES`, n = `scale` · g, and of
    `mirrored` (B,).

    A small U-Net: where the heart ends cannot be told from a cell and its neighbours, because its edge is
    faint over the spine and the diaphragm; at a quarter of the grid the convolutions see the whole chest.
    What it answers is computed at half the grid, where a convolution costs a quarter, for all cells of the
    answer within such a cell at once. Whether the film is mirrored is read from the means of 4 x 4 regions:
    where the heart, its apex and the stomach lie.
    """

    def __init__(self, dim: int, width: int = 48, scale: int = 2, dropout: float = 0.1) -> None:
        """Make a head.

        Args:
            dim: channels D of the embedding.
            width: channels at the full grid; 4/3 of it at half, twice as many at a quarter of the grid.
            scale: cells of the answer for each of the embedding, along a side.
            dropout: share of the embedding's channels that a step of the training does without.
        """
        super().__init__()
        self.scale = scale
        half, quarter = width * 4 // 3, width * 2
        self.drop = nn.Dropout2d(dropout)
        self.reduce = ConvolutionBlock(dim, width, size=1)
        self.to_half = ConvolutionBlock(width, half, stride=2)
        self.at_half = ConvolutionBlock(half, half)
        self.to_quarter = ConvolutionBlock(half, quarter, stride=2)
        self.at_quarter = nn.ModuleList([ConvolutionBlock(quarter, quarter) for _ in range(2)])
        self.from_quarter = ConvolutionBlock(quarter, half, size=1)
        self.joined = nn.ModuleList([ConvolutionBlock(half, half) for _ in range(2)])
        self.answer = nn.Conv2d(half, len(STRUCTURES) * (2 * scale) ** 2, 1)
        self.regions = nn.Conv2d(half, _SIDE_FEATURES, 1)
        self.side = nn.Linear(_SIDE_FEATURES * _REGIONS**2, 1)

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, 3, n, n) of the structures, and (B,) of the film being mirrored."""
        half = self.features(embedding)
        logits = F.pixel_shuffle(self.answer(half), 2 * self.scale)
        return _cut(logits, self.scale * embedding.shape[-1]), self.mirrored(half)

    def features(self, embedding: Tensor) -> Tensor:
        """Return what both answers are read from, (B, C, g / 2, g / 2)."""
        half = self.to_half(self.reduce(self.drop(embedding)))
        half = half + self.at_half(half)
        quarter = self.to_quarter(half)
        for convolution in self.at_quarter:
            quarter = quarter + convolution(quarter)
        coarse = self.from_quarter(quarter)
        finer = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        half = half + _cut(finer, half.shape[-1])
        for convolution in self.joined:
            half = half + convolution(half)
        return half

    def mirrored(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        """Return logits (B,) of films being mirrored, by `features`; `dropout`: share of regions left out."""
        stride = (
            features.shape[-1] // _REGIONS
        )  # regions overlap where the side cannot be divided: all are seen
        size = features.shape[-1] - (_REGIONS - 1) * stride
        regions = F.avg_pool2d(F.relu(self.regions(features)), size, stride)
        return self.side(F.dropout(regions.flatten(1), dropout, training=dropout > 0))[:, 0]

    def side_parameters(self) -> list[nn.Parameter]:
        """Return what only `mirrored` uses."""
        return [*self.regions.parameters(), *self.side.parameters()]


def _cut(plane: Tensor, side: int) -> Tensor:
    """Return (B, C, side, side) of a plane that an odd grid's half, rounded up, made larger by a cell."""
    return plane if plane.shape[-1] == side else plane[..., :side, :side]
