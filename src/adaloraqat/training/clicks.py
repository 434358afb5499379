"""Simulated clicks: a training step that is prompted as a person corrects a mask (SAM, arXiv 2304.02643)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adaloraqat.bundle.format import NO_POINT
from adaloraqat.measure.clicks import next_click
from adaloraqat.models.families import SegmentationModel
from adaloraqat.models.sam import decode
from adaloraqat.training.batches import Batch


class Clicks(NamedTuple):
    """What a step is prompted with beside, or in place of, its boxes.

    `points` (B, 1, P, 2) in model pixels, `labels` (B, 1, P), and `masks` (B, 1, 4g, 4g), the logits that the
    last click corrects; None before any.
    """

    points: Tensor
    labels: Tensor
    masks: Tensor | None


def step_prompts(
    model: SegmentationModel, batch: Batch, embedding: Tensor, boxes: Tensor, wanted: Tensor
) -> Sequence[Tensor | None]:
    """Return what a step decodes with, in the order of `decode`: boxes, or clicks with or without them."""
    given = boxes if batch.with_box else None
    if not batch.clicks:
        return (given,)
    clicks = draw_clicks(model, embedding, given, wanted, batch.clicks, batch.mask_alone)
    return None if batch.mask_alone else given, *clicks


@torch.no_grad()
def draw_clicks(
    model: SegmentationModel,
    embedding: Tensor,
    boxes: Tensor | None,
    wanted: Tensor,
    count: int,
    mask_alone: bool = False,
) -> Clicks:
    """Click `count` times, each time where the mask so far is wrong; the first time there may be none.

    Where a mask is right, and where nothing is wanted, SAM's empty point stands for a click.

    Args:
        model: in any mode; nothing of it changes.
        embedding: (B, D, g, g).
        boxes: (B, 1, 4) that the first mask comes from; None: the first click lies in the truth.
        wanted: (B, 1, S, S) soft masks.
        count: 1 or more.
        mask_alone: whether the boxes give no more than the first mask.
    """
    size, truths = wanted.shape[-2:], (wanted[:, 0] > 0.5).cpu().numpy()
    embedding = embedding.detach()
    masks = None if boxes is None else decode(model, embedding, boxes)[0].float()
    boxes = None if mask_alone else boxes
    points, labels = embedding.new_zeros(len(wanted), 1, 0, 2), embedding.new_zeros(len(wanted), 1, 0)
    for place in range(count):
        if place:
            masks = decode(model, embedding, boxes, points, labels, masks)[0].float()
        found = np.zeros_like(truths)
        if masks is not None:
            found = (F.interpolate(masks, size=size, mode="bilinear") > 0)[:, 0].cpu().numpy()
        clicks = [next_click(mask, truth) for mask, truth in zip(found, truths, strict=True)]
        new = torch.tensor([click or (0, 0, NO_POINT) for click in clicks]).to(points)[:, None, None]
        points = torch.cat([points, new[..., :2]], dim=2)
        labels = torch.cat([labels, new[..., 2]], dim=2)
    return Clicks(points, labels, masks)
