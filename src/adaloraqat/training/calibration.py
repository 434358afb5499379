"""Calibration films: what the activation ranges of stage 2 are measured on."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.films import FilmSet, draw_indices, normalise
from adaloraqat.training.prompts import box_of

BATCH = 8


def calibration_batches(
    films: FilmSet, preprocessing: Preprocessing, count: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images (B, C, S, S), boxes (B, 2, 4) in model pixels): whole film, and the lungs' box.

    The films are `count` of the set, drawn by seed, each at most once, not augmented.
    """
    count = min(count, len(films))
    chosen = draw_indices(len(films), count, 0, [seed, 9])
    for part in np.array_split(np.array(chosen), max(1, round(count / BATCH))):
        images, targets, valid = films.batch(part.tolist())
        size = images.shape[-1]
        boxes = [
            [box_of(valid[row, 0], size), box_of(targets[row, 2] > 0.5, size)] for row in range(len(images))
        ]
        yield normalise(images, valid, preprocessing), torch.tensor(boxes)
