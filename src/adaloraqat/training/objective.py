"""What one step of training minimises: the batch drawn by seed, varied and prompted, and its loss terms."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adaloraqat.lowrank import orthogonality_loss
from adaloraqat.models.families import SegmentationModel
from adaloraqat.models.sam import decode
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.augment import Augmentation, Warp
from adaloraqat.training.device import device_of
from adaloraqat.training.distillation import Distiller
from adaloraqat.training.films import FilmSet
from adaloraqat.training.losses import bce_loss, quality_loss, soft_dice_loss
from adaloraqat.training.prompts import draw_prompts
from adaloraqat.training.recipe import AdaLoRAStage, Recipe, Stage
from adaloraqat.training.sampling import modality_of, sampler_of
from adaloraqat.training.stages import embed, set_training


class Batch(NamedTuple):
    """One batch as the model sees it.

    `indices` of its films; the `warp` they went through, None for none; `images` (B, 1, S, S) in [0, 1];
    `valid` (B, 1, S, S), 1 on the film; `boxes` (B, 1, 4) in model pixels; `wanted` (B, 1, S, S) soft masks.
    """

    indices: list[int]
    warp: Warp | None
    images: Tensor
    valid: Tensor
    boxes: Tensor
    wanted: Tensor


class Objective:
    """The loss of one stage, as a function of the model and the number of the step alone."""

    def __init__(
        self,
        recipe: Recipe,
        number: int,
        films: FilmSet,
        preprocessing: Preprocessing,
        distiller: Distiller | None = None,
    ) -> None:
        self.recipe, self.number, self.films, self.preprocessing = recipe, number, films, preprocessing
        self.stage: Stage = recipe.stages[number]
        self.distiller = distiller
        self.augmentation = Augmentation(self.stage.augmentation, geometry=self.stage.geometry)
        self.several_modalities = len({modality_of(entry) for entry in films.entries}) > 1
        self.sampler = sampler_of(recipe, number, films)

    def terms(self, model: SegmentationModel, step: int) -> dict[str, Tensor]:
        """Return the weighted loss terms () of batch number `step`.

        The orthogonality term exists only in stage 1, the teacher's terms only where there is one.
        """
        indices, warp, images, valid, boxes, wanted = self.draw(step)
        device = device_of(model)
        boxes, wanted = boxes.to(device), wanted.to(device)  # drawn on the CPU: the same films everywhere
        with self._precision(device):
            embedding = embed(model, images, valid, self.preprocessing)
            logits, quality = decode(model, embedding, boxes)  # (B, 1, 4g, 4g), (B, 1)
        fine = F.interpolate(logits.float(), size=wanted.shape[-2:], mode="bilinear", align_corners=False)
        terms = self._own_terms(model, fine, quality, wanted)
        if self.distiller is not None:
            with self._precision(device):
                terms |= self.distiller.terms(indices, warp, embedding, fine, boxes, wanted)
        return terms

    def draw(self, step: int) -> "Batch":
        """Return batch number `step`: films chosen, varied and prompted: a step's data."""
        generator = torch.Generator().manual_seed(_step_seed(self.recipe.seed, self.number, step))
        indices = self.sampler.batch(self.stage.schedule.batch_size, step)
        images, targets, valid = self.films.batch(indices)
        images = self.augmentation.vary(images, generator)
        warp = self.augmentation.draw_warp(len(indices), generator)
        if warp is not None:
            images, targets, valid = warp(images, targets, valid)
        boxes, wanted = draw_prompts(targets, valid, self.recipe.prompts, generator)
        return Batch(indices, warp, images, valid, boxes, wanted)

    def start_distillation(self, model: SegmentationModel) -> None:
        """Fit the distiller to the model as it stands before the first step.

        The model is in training mode, as in the steps that follow: before it has learnt, the running
        statistics of its batch norms say nothing. They are put back afterwards.
        """
        if self.distiller is None:
            return
        set_training(model)
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}

        def student(indices: Sequence[int]) -> Tensor:
            images, _, valid = self.films.batch(indices)
            return embed(model, images, valid, self.preprocessing)

        self.distiller.fit(student)
        model.load_state_dict(buffers, strict=False)

    def _own_terms(
        self, model: SegmentationModel, fine: Tensor, quality: Tensor, wanted: Tensor
    ) -> dict[str, Tensor]:
        weights = self.stage.losses
        terms = {
            "bce": weights.bce * bce_loss(fine, wanted),
            "dice": weights.dice * soft_dice_loss(fine, wanted),
        }
        if weights.quality:
            terms["quality"] = weights.quality * quality_loss(quality[:, 0].float(), fine.detach(), wanted)
        if isinstance(self.stage, AdaLoRAStage):
            terms["orthogonality"] = weights.orthogonality * orthogonality_loss(model)
        return terms

    def _precision(self, device: torch.device) -> torch.autocast:
        half = self.stage.schedule.precision == "bfloat16"
        return torch.autocast(device.type, torch.bfloat16, enabled=half)


def _step_seed(*parts: int) -> int:
    """Return a 63-bit seed that differs for every (recipe seed, stage, step)."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
