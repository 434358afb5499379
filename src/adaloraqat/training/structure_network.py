"""The network that tells right lung, left lung and heart apart, from an embedding."""

import torch.nn.functional as F
from torch import Tensor, nn

STRUCTURES = ("right lung", "left lung", "heart")
"""The planes of the head's answer. Right lung: the one at the image's left."""
_REGIONS = 4
_SIDE_FEATURES = 12


class StructureHead(nn.Module):
    """From an embedding (B, D, g, g) to logits (B, 3, n, n) of `STRUCTURES`, n = `scale` · g, and of
    `mirrored` (B,); g is a multiple of 4.

    A small U-Net: where the heart ends cannot be told from a cell and its neighbours, because its edge is
    faint over the spine and the diaphragm; at a quarter of the grid the convolutions see the whole chest. The
    last one gives `scale`² answers a cell, so that outlines do not follow the cells. Whether the film is
    mirrored is read from the means of 4 x 4 regions: where the heart, its apex and the stomach lie.
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
        self.reduce = _convolution(dim, width, size=1)
        self.to_half = _convolution(width, half, stride=2)
        self.at_half = _convolution(half, half)
        self.to_quarter = _convolution(half, quarter, stride=2)
        self.at_quarter = nn.ModuleList([_convolution(quarter, quarter) for _ in range(2)])
        self.from_quarter = _convolution(quarter, half, size=1)
        self.joined_half = _convolution(half, half)
        self.from_half = _convolution(half, width, size=1)
        self.joined = _convolution(width, width)
        self.answer = nn.Conv2d(width, len(STRUCTURES) * scale**2, 3, padding=1)
        self.regions = nn.Conv2d(width, _SIDE_FEATURES, 1)
        self.side = nn.Linear(_SIDE_FEATURES * _REGIONS**2, 1)

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, 3, n, n) of the structures, and (B,) of the film being mirrored."""
        full = self.reduce(self.drop(embedding))
        half = self.to_half(full)
        half = half + self.at_half(half)
        quarter = self.to_quarter(half)
        for convolution in self.at_quarter:
            quarter = quarter + convolution(quarter)
        half = half + _doubled(self.from_quarter(quarter))
        half = half + self.joined_half(half)
        full = full + _doubled(self.from_half(half))
        full = full + self.joined(full)
        regions = F.avg_pool2d(F.relu(self.regions(full)), embedding.shape[-1] // _REGIONS)
        mirrored = self.side(regions.flatten(1))[:, 0]
        return F.pixel_shuffle(self.answer(full), self.scale), mirrored


def _convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _doubled(plane: Tensor) -> Tensor:
    return F.interpolate(plane, scale_factor=2, mode="bilinear", align_corners=False)
