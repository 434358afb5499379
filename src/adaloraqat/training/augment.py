"""Augmentation of a batch: geometry and the looks that films of other hospitals have.

Everything is drawn from one generator that the caller seeds by (seed, stage, epoch, step), so a resumed run
repeats the interrupted one exactly. Images are (B, 1, S, S) in [0, 1] before normalisation, bright = dense.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How far a batch is varied; `strength` scales every range, 0 turns all off.

    The ranges at strength 1: rotation 25 degrees (most far below), zoom 0.75 to 1.35, aspect 12 %, shift 10 %
    of the side, shear 6 degrees, elastic displacement of 1.5 % of the side (standard deviation) in half the
    films, gamma 0.5 to 2, contrast 0.7 to 1.28, brightness 0.15; some with shading, blur, noise, objects.
    """

    strength: float = 1.0
    flip: float = 0.25

    def __call__(
        self, images: Tensor, targets: Tensor, valid: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Vary a batch.

        Args:
            images: (B, 1, S, S) film in [0, 1].
            targets: (B, 3, S, S) soft masks of right lung, left lung and both, in [0, 1].
            valid: (B, 1, S, S) 1 where the film is, 0 in the padding.
            generator: the only source of randomness.

        Returns:
            The three tensors after the same geometric transform; only the image also changes in look.
        """
        if self.strength <= 0:
            return images, targets, valid
        images = vary_look(images, self.strength, generator)
        return self._warp(images, targets, valid, generator)

    def _warp(
        self, images: Tensor, targets: Tensor, valid: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        flips = torch.rand(len(images), generator=generator) < self.flip
        targets = torch.where(
            flips[:, None, None, None], targets[:, [1, 0, 2]], targets
        )  # sides change names
        grid = _sampling_grid(len(images), images.shape[-1], self.strength, flips, generator)
        stacked = torch.cat([images, targets, valid], dim=1)  # (B, 5, S, S)
        warped = F.grid_sample(stacked, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return warped[:, :1], warped[:, 1:4], warped[:, 4:].round()


def _sampling_grid(
    count: int, size: int, strength: float, flips: Tensor, generator: torch.Generator
) -> Tensor:
    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    angle = (
        uniform(-1, 1) ** 3 * math.radians(25) * strength
    )  # mostly small, sometimes a badly placed patient
    shear = uniform(-1, 1) * math.radians(6) * strength
    zoom = torch.exp(uniform(math.log(0.75), math.log(1.35)) * strength)
    aspect = torch.exp(uniform(-0.12, 0.12) * strength)
    shift = (
        torch.stack([uniform(-0.2, 0.2), uniform(-0.2, 0.2)], dim=1) * strength
    )  # grid units: 2 = one side
    cos, sin = torch.cos(angle), torch.sin(angle)
    sign = 1.0 - 2.0 * flips.to(torch.float32)
    first = torch.stack([cos / (zoom * aspect) * sign, (-sin + shear) / (zoom / aspect)], dim=1)
    second = torch.stack([sin / (zoom * aspect) * sign, cos / (zoom / aspect)], dim=1)
    affine = torch.cat([torch.stack([first, second], dim=1), shift[:, :, None]], dim=2)  # (B, 2, 3)
    grid = F.affine_grid(affine, [count, 1, size, size], align_corners=False)
    knots = torch.randn(count, 2, 5, 5, generator=generator) * (0.03 * strength)
    knots = knots * (torch.rand(count, 1, 1, 1, generator=generator) < 0.5)
    bend = F.interpolate(knots, size=(size, size), mode="bicubic", align_corners=True)
    return grid + bend.permute(0, 2, 3, 1)


def vary_look(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Change exposure, contrast, sharpness, noise and shading of (B, 1, S, S) films in [0, 1]."""
    count = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(count, generator=generator)).view(count, 1, 1, 1)

    def chosen(probability: float) -> Tensor:
        return (torch.rand(count, generator=generator) < probability).view(count, 1, 1, 1)

    gamma = torch.exp(uniform(-0.7, 0.7) * strength)
    images = images.clamp(1e-4, 1.0) ** gamma
    images = _shade(images, strength, chosen(0.4), generator)
    images = _soften(images, chosen(0.25), generator)
    contrast = torch.exp(uniform(-0.35, 0.25) * strength)
    images = (images - 0.5) * contrast + 0.5 + uniform(-0.15, 0.15) * strength
    noise = torch.randn(images.shape, generator=generator) * (uniform(0.0, 0.07) * strength)
    images = torch.where(chosen(0.5), images + noise, images)
    images = _foreign_objects(images, strength, generator)
    return images.clamp(0.0, 1.0)


def _shade(images: Tensor, strength: float, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Add a smooth opacity field: scatter, effusion, consolidation."""
    field = torch.randn(len(images), 1, 4, 4, generator=generator) * (0.18 * strength)
    field = F.interpolate(field, size=images.shape[-2:], mode="bicubic", align_corners=True)
    return torch.where(chosen, images + field, images)


def _soften(images: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Lower the resolution by one common factor a batch."""
    factor = 0.35 + 0.5 * float(torch.rand(1, generator=generator))
    size = max(8, int(images.shape[-1] * factor))
    small = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    soft = F.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(chosen, soft, images)


def _foreign_objects(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Lay flat rectangles (labels, devices, collimator edges) over a third of the films."""
    images = images.clone()
    size = images.shape[-1]
    draws = torch.rand(len(images), 6, generator=generator).tolist()
    for index, (use, left, top, width, height, level) in enumerate(draws):
        if use > 0.33 * min(strength, 1.0):
            continue
        x, y = int(left * size), int(top * size)
        w, h = 2 + int(width**2 * 0.25 * size), 2 + int(height**2 * 0.25 * size)
        images[index, :, y : y + h, x : x + w] = level
    return images
