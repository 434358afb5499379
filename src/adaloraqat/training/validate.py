"""Scores during training: Dice of the mask on each film's original grid, with a box and with none."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from adaloraqat.measure.overlap import dice
from adaloraqat.models.families import SegmentationModel, accepts_boxes
from adaloraqat.models.sam import decode
from adaloraqat.progress import Progress, no_progress
from adaloraqat.radiograph import Box, Preprocessing, read_mask
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
) -> dict[str, float]:
    """Return mean `dice_no_box` and `dice_box` over films, and `worst_no_box`.

    `progress` counts the batches, which `processes` share; their number changes no score. `frozen` keeps what
    the frozen layers make of these films, where the stage has some. A film whose truth
    is empty has no ground-truth box and counts only without one. A network that takes no box has no
    `dice_box`.
    """
    training = model.training
    model.eval()
    with_boxes = accepts_boxes(model)
    scored: list[tuple[int, list[float], list[float]]] = []
    for start in progress(processes.own(range(0, len(films), BATCH)), "batches of films"):
        indices = range(start, min(start + BATCH, len(films)))
        images, _, valid = films.batch(indices)
        if frozen is None:
            embedding = embed(model, images, valid, preprocessing)
        else:
            embedding = frozen.embed(indices, images, valid)
        truths = [read_mask(films.entries[i].path_mask, films.frames[i].original) for i in indices]
        whole = [Box.whole(films.frames[i].original) for i in indices]
        scored.append((start, _scores(model, embedding, films, indices, whole, truths), []))
        if not with_boxes:
            continue
        around = [Box.around(t) if t.any() else None for t in truths]
        with_box = [box if box is not None else fallback for box, fallback in zip(around, whole, strict=True)]
        scores = _scores(model, embedding, films, indices, with_box, truths)
        scored[-1][2].extend(s for s, box in zip(scores, around, strict=True) if box is not None)
    model.train(training)
    in_order = sorted(processes.gathered(scored))
    no_box = [score for _, whole_film, _ in in_order for score in whole_film]
    boxed = [score for _, _, true_box in in_order for score in true_box]
    found = {"dice_no_box": float(np.mean(no_box)), "worst_no_box": float(np.min(no_box))}
    return {**found, "dice_box": float(np.mean(boxed)) if boxed else 0.0} if with_boxes else found


def in_words(scores: Mapping[str, float]) -> str:
    """Return what `validate` found as the end of a sentence."""
    boxed = f", {scores['dice_box']:.4f} with the true box" if "dice_box" in scores else ""
    return f"validation Dice {scores['dice_no_box']:.4f} without a box{boxed}"


def _scores(
    model: SegmentationModel,
    embedding: torch.Tensor,
    films: FilmSet,
    indices: Sequence[int],
    boxes: Sequence[Box],
    truths: Sequence[NDArray[np.bool_]],
) -> list[float]:
    frames = [films.frames[i] for i in indices]
    prompts = np.stack([frame.box_to_model(box) for frame, box in zip(frames, boxes, strict=True)])
    logits, _ = decode(model, embedding, torch.from_numpy(prompts)[:, None, :].to(embedding.device))
    return [
        dice(frame.logits_to_original(grid.numpy()) > 0, truth)
        for frame, grid, truth in zip(frames, logits[:, 0].cpu(), truths, strict=True)
    ]
