"""Box prompts in training: the truth's box with noise, one lung's box, or the whole film."""

import torch
from torch import Tensor

from adaloraqat.training.recipe import Prompts


def draw_prompts(
    targets: Tensor, valid: Tensor, prompts: Prompts, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Choose a box and the mask it asks for, for each film of a batch.

    Args:
        targets: (B, 3, S, S) soft masks of right lung, left lung, both. Sides that are unknown are empty.
        valid: (B, 1, S, S) 1 where the film is.
        prompts: the shares of each kind of box, and the noise.
        generator: the only source of randomness.

    Returns:
        boxes (B, 1, 4) in model pixels, inside the film; targets (B, 1, S, S). A film without a usable mask
        gets its whole area as box; a one-lung box is used only where both sides are known and visible.
    """
    size = targets.shape[-1]
    draws = torch.rand(len(targets), 6, generator=generator)
    boxes, chosen = [], []
    for index, (kind, side, *noise) in enumerate(draws.tolist()):
        channel = 2
        film = box_of(valid[index, 0], size)
        box = film
        sides_known = bool((targets[index, :2].flatten(1).sum(1) > 0.002 * size * size).all())
        if kind < prompts.one_lung and sides_known:
            channel = int(side < 0.5)
        if (kind < prompts.one_lung and sides_known) or kind >= prompts.one_lung + prompts.whole_film:
            truth = targets[index, channel] > 0.5
            if bool(truth.any()):
                box = _jitter(box_of(truth, size), noise, prompts.noise, film)
        boxes.append(box)
        chosen.append(targets[index, channel])
    return torch.tensor(boxes)[:, None, :], torch.stack(chosen)[:, None]


def box_of(mask: Tensor, size: int) -> list[float]:
    """Return [x_min, y_min, x_max, y_max] of a (S, S) mask's nonzero part; of an empty one, the square."""
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    if len(rows) == 0:
        return [0.0, 0.0, float(size), float(size)]
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def _jitter(box: list[float], draws: list[float], noise: float, film: list[float]) -> list[float]:
    """Move each side by up to `noise` of the box (half as far inwards) and stay inside the film."""
    width, height = box[2] - box[0], box[3] - box[1]
    moves = [(draw * 1.5 - 0.5) * noise for draw in draws]
    return [
        max(film[0], box[0] - moves[0] * width),
        max(film[1], box[1] - moves[1] * height),
        min(film[2], box[2] + moves[2] * width),
        min(film[3], box[3] + moves[3] * height),
    ]
