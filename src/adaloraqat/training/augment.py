"""Augmentation of a batch: geometry and the looks that films of other hospitals have.

Everything is drawn from one generator that the caller seeds by (seed, stage, epoch, step), so a resumed run
repeats the interrupted one exactly. Images are (B, 1, S, S) in [0, 1] before normalisation, bright = dense.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How far a batch is varied; `strength` scales every range but that of blur, 0 turns all off.

    The ranges at strength 1: rotation 25 degrees (most far below), zoom 0.75 to 1.35, aspect 12 %, shift 10 %
    of the side, shear 6 degrees, elastic displacement of 1.5 % of the side (standard deviation) in half the
    films, gamma 0.5 to 2, contrast 0.7 to 1.28, brightness 0.15; some with shading, opacities, blur, edge
    enhancement, noise, objects, wires, inversion. A fifth lies, smaller, in a border that counts as film: a
    sheet photographed on a light box, a screenshot, a collimator. Without `geometry` nothing moves, and only
    the look changes.
    """

    strength: float = 1.0
    flip: float = 0.25
    geometry: bool = True

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
        images = self.vary(images, generator)
        warp = self.draw_warp(len(images), generator)
        return (images, targets, valid) if warp is None else warp(images, targets, valid)

    def vary(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change only the look of (B, 1, S, S) films in [0, 1]."""
        return vary_look(images, self.strength, generator) if self.strength > 0 else images

    def draw_warp(self, count: int, generator: torch.Generator) -> "Warp | None":
        """Draw the geometry of `count` films; None where nothing moves."""
        if self.strength <= 0 or not self.geometry:
            return None
        return _draw_warp(count, self.strength, self.flip, generator)


@dataclass(frozen=True)
class Warp:
    """One geometric transform a film, free of any size: student and teacher see the same at their own.

    `flips` (B,) which are mirrored; `affine` (B, 2, 3) in grid units, where 2 is one side; `bend`
    (B, 2, 5, 5) displacements at 5×5 knots; `borders` (B,) the grey level of what lies round the film and
    counts as film, NaN where nothing but padding does.
    """

    flips: Tensor
    affine: Tensor
    bend: Tensor
    borders: Tensor

    def __call__(self, images: Tensor, targets: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Move images (B, 1, S, S), targets (B, 3, S, S) and valid (B, 1, S, S) together."""
        targets = torch.where(
            self.flips[:, None, None, None], targets[:, [1, 0, 2]], targets
        )  # sides change names
        warped = self.sample(torch.cat([images * valid, targets, valid], dim=1))  # (B, 5, S, S)
        images, targets, inside = warped[:, :1], warped[:, 1:4], warped[:, 4:]
        framed = ~self.borders.isnan()[:, None, None, None]
        level = self.borders.nan_to_num()[:, None, None, None]
        images = torch.where(framed, images + level * (1 - inside), images)  # soft at the film's edge
        return images, targets, torch.where(framed, torch.ones_like(inside), inside.round())

    @classmethod
    def none(cls) -> "Warp":
        """Return the transform that leaves one film where it is."""
        still = torch.eye(2, 3)[None]
        return cls(
            torch.zeros(1, dtype=torch.bool), still, torch.zeros(1, 2, 5, 5), torch.full((1,), math.nan)
        )

    @classmethod
    def joined(cls, warps: Sequence["Warp"]) -> "Warp":
        """Return the transforms of several films as one."""
        return cls(*(torch.cat(column) for column in zip(*(vars(w).values() for w in warps), strict=True)))

    def part(self, rows: slice) -> "Warp":
        """Return the transforms of these films of the batch."""
        return Warp(self.flips[rows], self.affine[rows], self.bend[rows], self.borders[rows])

    def sample(self, pictures: Tensor) -> Tensor:
        """Move pictures (B, C, S, S) of any size; what comes from outside is 0."""
        count, size = len(pictures), pictures.shape[-1]
        grid = F.affine_grid(self.affine, [count, 1, size, size], align_corners=False)
        bend = F.interpolate(self.bend, size=(size, size), mode="bicubic", align_corners=True)
        grid = grid + bend.permute(0, 2, 3, 1)
        return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _draw_warp(count: int, strength: float, flip: float, generator: torch.Generator) -> Warp:
    flips = torch.rand(count, generator=generator) < flip

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    angle = (
        uniform(-1, 1) ** 3 * math.radians(25) * strength
    )  # mostly small, sometimes a badly placed patient
    shear = uniform(-1, 1) * math.radians(6) * strength
    zoom = torch.exp(uniform(math.log(0.75), math.log(1.35)) * strength)
    borders = _draw_borders(count, strength, generator)
    smaller = torch.exp(uniform(math.log(0.65), 0.0) * strength)
    zoom = torch.where(borders.isnan(), zoom, zoom.clamp(max=1.0) * smaller)
    aspect = torch.exp(uniform(-0.12, 0.12) * strength)
    shift = (
        torch.stack([uniform(-0.2, 0.2), uniform(-0.2, 0.2)], dim=1) * strength
    )  # grid units: 2 = one side
    cos, sin = torch.cos(angle), torch.sin(angle)
    sign = 1.0 - 2.0 * flips.to(torch.float32)
    first = torch.stack([cos / (zoom * aspect) * sign, (-sin + shear) / (zoom / aspect)], dim=1)
    second = torch.stack([sin / (zoom * aspect) * sign, cos / (zoom / aspect)], dim=1)
    affine = torch.cat([torch.stack([first, second], dim=1), shift[:, :, None]], dim=2)  # (B, 2, 3)
    knots = torch.randn(count, 2, 5, 5, generator=generator) * (0.03 * strength)
    knots = knots * (torch.rand(count, 1, 1, 1, generator=generator) < 0.5)
    return Warp(flips, affine, knots, borders)


def _draw_borders(count: int, strength: float, generator: torch.Generator) -> Tensor:
    """Return (B,) a level in [0, 1] for a fifth of the films, half of them black or white; else NaN."""
    use, kind, level = torch.rand(3, count, generator=generator)
    level = torch.where(kind < 0.35, torch.zeros(()), torch.where(kind < 0.5, torch.ones(()), level))
    return torch.where(use < 0.2 * min(strength, 1.0), level, torch.full((), math.nan))


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
    images = _opacities(images, strength, chosen(0.25), generator)
    images = _soften(images, chosen(0.25), generator)
    images = _enhance_edges(images, uniform(0.0, 1.5) * strength, chosen(0.2))
    contrast = torch.exp(uniform(-0.35, 0.25) * strength)
    images = (images - 0.5) * contrast + 0.5 + uniform(-0.15, 0.15) * strength
    noise = torch.randn(images.shape, generator=generator) * (uniform(0.0, 0.07) * strength)
    images = torch.where(chosen(0.5), images + noise, images)
    images = _foreign_objects(images, strength, generator).clamp(0.0, 1.0)
    return torch.where(chosen(0.04 * min(strength, 1.0)), 1.0 - images, images)  # the reader errs at times


def _shade(images: Tensor, strength: float, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Add a smooth opacity field: scatter, effusion, consolidation."""
    field = torch.randn(len(images), 1, 4, 4, generator=generator) * (0.18 * strength)
    field = F.interpolate(field, size=images.shape[-2:], mode="bicubic", align_corners=True)
    return torch.where(chosen, images + field, images)


def _opacities(images: Tensor, strength: float, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Lay up to three soft ellipses over a film that hide what is below: consolidation, effusion, masses."""
    size = images.shape[-1]
    axis = torch.linspace(0.0, 1.0, size)
    draws = torch.rand(len(images), 3, 6, generator=generator)
    cover = torch.zeros_like(images)
    for x, y, width, height, density, use in draws.permute(1, 2, 0):  # each (B,)
        across = ((axis - x[:, None]) / (0.04 + 0.16 * width[:, None])) ** 2  # (B, S)
        along = ((axis - y[:, None]) / (0.04 + 0.16 * height[:, None])) ** 2
        blob = torch.exp(-0.5 * (along[:, :, None] + across[:, None, :]) ** 2)  # flat in the middle
        cover = torch.maximum(cover, (blob * (density * (use < 0.6))[:, None, None])[:, None])
    level = 0.55 + 0.4 * torch.rand(len(images), 1, 1, 1, generator=generator)
    hidden = images + 0.9 * min(strength, 1.0) * cover * (level - images)
    return torch.where(chosen, hidden, images)


def _enhance_edges(images: Tensor, amount: Tensor, chosen: Tensor) -> Tensor:
    """Sharpen by (B, 1, 1, 1) `amount`, as the processing of many digital systems does."""
    reach = max(3, images.shape[-1] // 24) | 1
    blurred = F.avg_pool2d(images, reach, stride=1, padding=reach // 2, count_include_pad=False)
    return torch.where(chosen, images + amount * (images - blurred), images)


def _soften(images: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Lower the resolution by one common factor a batch, 0.35 to 0.85 at any strength."""
    factor = 0.35 + 0.5 * float(torch.rand(1, generator=generator))
    size = max(8, int(images.shape[-1] * factor))
    small = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    soft = F.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(chosen, soft, images)


def _foreign_objects(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Lay flat rectangles (labels, devices, collimator edges) over a third of the films, or thin wires."""
    images = images.clone()
    size = images.shape[-1]
    draws = torch.rand(len(images), 7, generator=generator).tolist()
    for index, (use, kind, left, top, width, height, level) in enumerate(draws):
        if use > 0.33 * min(strength, 1.0):
            continue
        x, y = int(left * size), int(top * size)
        w, h = 2 + int(width**2 * 0.25 * size), 2 + int(height**2 * 0.25 * size)
        if kind < 0.15:
            w, h = 1 + size // 128, 2 + int(height * 0.9 * size)
        elif kind < 0.3:
            w, h = 2 + int(width * 0.9 * size), 1 + size // 128
        images[index, :, y : y + h, x : x + w] = level
    return images
