"""Scores during training: Dice of the mask on each film's original grid, with a box and with none."""

from collections.abc import Mapping, Sequence
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray

from adaloraqat.measure.overlap import dice
from adaloraqat.models.families import SegmentationModel, accepts_boxes
from adaloraqat.models.sam import decode
from adaloraqat.progress import Progress, no_progress
from adaloraqat.radiograph import Box, Frame, Preprocessing, read_mask
from adaloraqat.training.batches import draw_clicks
from adaloraqat.training.films import FilmSet, embed
from adaloraqat.training.frozen import FrozenFeatures
from adaloraqat.training.processes import ALONE, Processes

BATCH = 8


@torch.no_grad()
def validate(
    model: SegmentationModel,
    films: FilmSet,
    preprocessing: Preprocessing,
    progress: Progress = no_progress,
    processes: Processes = ALONE,
    frozen: FrozenFeatures | None = None,
    clicks: int = 0,
) -> dict[str, float]:
    """Return mean `dice_no_box` and `dice_box` over films, and `worst_no_box`; `dice_clicks` after `clicks`.

    `progress` counts the batches, which `processes` share; their number changes no score. `frozen` keeps what
    the frozen layers make of these films, where the stage has some. A film whose truth
    is empty has no ground-truth box and counts only without one. A network that takes no box has no
    `dice_box`. Clicks are placed as in training, on the model's grid and without a box.
    """
    training = model.training
    model.eval()
    with_boxes = accepts_boxes(model)
    scored: list[tuple[int, dict[str, list[float]]]] = []
    for start in progress(processes.own(range(0, len(films), BATCH)), "batches of films"):
        indices = range(start, min(start + BATCH, len(films)))
        images, targets, valid = films.batch(indices)
        if frozen is None:
            embedding = embed(model, images, valid, preprocessing)
        else:
            embedding = frozen.embed(indices, images, valid)
        frames = [films.frames[i] for i in indices]
        truths = [read_mask(films.entries[i].path_mask, films.frames[i].original) for i in indices]
        whole = [Box.whole(frame.original) for frame in frames]
        dices = {"dice_no_box": _dices(_boxed(model, embedding, frames, whole), frames, truths)}
        if with_boxes:
            around = [Box.around(truth) if truth.any() else None for truth in truths]
            boxes = [box if box is not None else other for box, other in zip(around, whole, strict=True)]
            boxed = _dices(_boxed(model, embedding, frames, boxes), frames, truths)
            dices["dice_box"] = [score for score, box in zip(boxed, around, strict=True) if box is not None]
        if clicks:
            prompts = draw_clicks(model, embedding, None, targets[:, 2:3], clicks)
            dices["dice_clicks"] = _dices(decode(model, embedding, None, *prompts)[0], frames, truths)
        scored.append((start, dices))
    model.train(training)
    every: dict[str, list[float]] = {}
    for _, dices in sorted(processes.gathered(scored), key=itemgetter(0)):
        for name, scores in dices.items():
            every.setdefault(name, []).extend(scores)
    means = {name: float(np.mean(scores)) if scores else 0.0 for name, scores in every.items()}
    worst = float(np.min(every["dice_no_box"]))
    return {"dice_no_box": means["dice_no_box"], "worst_no_box": worst} | means


def in_words(scores: Mapping[str, float]) -> str:
    """Return what `validate` found as the end of a sentence."""
    boxed = f", {scores['dice_box']:.4f} with the true box" if "dice_box" in scores else ""
    clicked = f", {scores['dice_clicks']:.4f} after clicks" if "dice_clicks" in scores else ""
    return f"validation Dice {scores['dice_no_box']:.4f} without a box{boxed}{clicked}"


def _boxed(
    model: SegmentationModel, embedding: torch.Tensor, frames: Sequence[Frame], boxes: Sequence[Box]
) -> torch.Tensor:
    """Return logits (B, 1, 4g, 4g) of a box a film."""
    prompts = np.stack([frame.box_to_model(box) for frame, box in zip(frames, boxes, strict=True)])
    return decode(model, embedding, torch.from_numpy(prompts)[:, None, :].to(embedding.device))[0]


def _dices(logits: torch.Tensor, frames: Sequence[Frame], truths: Sequence[NDArray[np.bool_]]) -> list[float]:
    return [
        dice(frame.logits_to_original(grid.numpy()) > 0, truth)
        for frame, grid, truth in zip(frames, logits[:, 0].cpu(), truths, strict=True)
    ]
