"""What the frozen part of an encoder makes of a film is computed once.

A stage that trains the decoder alone, or adapters in the later layers, runs the same frozen layers on the
same pictures in every epoch, where the pictures do not change: without augmentation, or with a fixed number
of `views` a film. Their output is kept in a file of the run folder that has no name: it goes when the
training ends, however it ends. A resumed stage computes it again.

Films are encoded one at a time, so that no number depends on which others were in the batch: a resumed stage
repeats the interrupted one. Against a plain loop only last bits differ.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from adaloraqat.models.families import SegmentationModel, accepts_boxes
from adaloraqat.models.tiny_vit import TinyViT
from adaloraqat.progress import Report
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.batches import Batches
from adaloraqat.training.films import device_of, normalise
from adaloraqat.training.kinds.base import Stage

logger = logging.getLogger(__name__)

Part = tuple[nn.Module, Callable[[Tensor], Tensor]]
"""A part of an encoder: what it consists of, and how it is called."""
_BLOCK = 1 << 24


def frozen_parts(model: SegmentationModel) -> int:
    """Return how many leading parts of the encoder do not learn, as `trainable_groups` left the model.

    A part that draws at random in training (dropout) never counts as frozen.
    """
    if not accepts_boxes(model):
        return 0
    count = 0
    for module, _ in _parts(model):
        if any(parameter.requires_grad for parameter in module.parameters()) or _draws(module):
            break
        count += 1
    return count


def _draws(module: nn.Module) -> bool:
    return any(isinstance(each, nn.Dropout) and each.p > 0 for each in module.modules())


def _parts(model: SegmentationModel) -> list[Part]:
    encoder: nn.Module = model.vision_encoder  # type: ignore[assignment]
    if isinstance(encoder, TinyViT):
        return encoder.parts()
    return [(encoder, lambda image: encoder(image).last_hidden_state)]


def split_encoder(model: SegmentationModel) -> tuple[list[Part], list[Part]]:
    """Return the leading parts of the encoder that do not learn, and the others."""
    parts, count = _parts(model), frozen_parts(model)
    return parts[:count], parts[count:]


def remembers(stage: Stage, model: SegmentationModel) -> bool:
    """Say whether a stage computes the frozen layers of `model` once a picture: pictures come again."""
    return stage.numerics is None and stage.pictures_repeat and frozen_parts(model) > 0


def remember_frozen(
    stage: Stage,
    model: SegmentationModel,
    preprocessing: Preprocessing,
    batches: Batches,
    validation: int,
    folder: Path,
    report: Report,
) -> tuple[FrozenFeatures | None, FrozenFeatures | None]:
    """Return what keeps the output of frozen layers for training and for validation films; None for neither.

    Args:
        stage: the stage, in which nothing is quantised.
        model: as `trainable_groups` left it.
        preprocessing: what the model sees films through.
        batches: of the stage.
        validation: how many validation films there are.
        folder: of the run.
        report: receives a line where something is kept.
    """
    if not remembers(stage, model):
        return None, None
    training = FrozenFeatures(model, preprocessing, batches.pictures, folder, layout_of(stage))
    what = "encoder" if training.whole else "first layers of the encoder"
    report(f"{stage.name}: the frozen {what} sees each image once")
    return training, FrozenFeatures(model, preprocessing, validation, folder)


def layout_of(stage: Stage) -> torch.memory_format:
    """Return the memory format of a stage's images: channels last with bfloat16, which is quicker there."""
    half = stage.schedule.precision == "bfloat16"
    return torch.channels_last if half else torch.preserve_format  # it moves last bits as well


class FrozenFeatures:
    """The output of the leading parts of an encoder, kept for each film and view.

    Attributes:
        whole: whether all of the encoder is frozen, so that what is kept is the embedding.
    """

    def __init__(
        self,
        model: SegmentationModel,
        preprocessing: Preprocessing,
        rows: int,
        folder: Path,
        memory_format: torch.memory_format = torch.preserve_format,
    ) -> None:
        """Take a model of which `frozen_parts` is above 0.

        Args:
            model: on its device; its frozen parts must not change while this lives.
            preprocessing: what the model sees films through.
            rows: how many pictures there are: films times views.
            folder: where the file lies.
            memory_format: of the images, as the training step has it.
        """
        self._model, self._preprocessing, self._layout = model, preprocessing, memory_format
        self._first, self._rest = split_encoder(model)
        self.whole = not self._rest
        self._table = _Table(rows, folder)

    def embed(self, rows: Sequence[int], images: Tensor, valid: Tensor) -> Tensor:
        """Return the embedding (B, D, g, g) of (B, 1, S, S) pictures in [0, 1], whose numbers are `rows`."""
        device = device_of(self._model)
        kept = []
        for place, row in enumerate(rows):
            hidden = self._table.get(row)
            if hidden is None:
                one = slice(place, place + 1)
                image = normalise(images[one], valid[one], self._preprocessing)
                hidden = self._run(image.to(device, memory_format=self._layout))
                self._table.put(row, hidden)
            kept.append(hidden.to(device))
        hidden = torch.cat(kept)
        for _, part in self._rest:
            hidden = part(hidden)
        return hidden

    @torch.no_grad()
    def _run(self, image: Tensor) -> Tensor:
        for _, part in self._first:
            image = part(image)
        return image


class _Table:
    """Tensors of one shape by row, in a file without a name; in none where the disk has no room."""

    def __init__(self, rows: int, folder: Path) -> None:
        self._rows, self._folder = rows, folder
        self._known = np.zeros(rows, bool)
        self._kind = torch.float32
        self._values: np.memmap[tuple[int, ...], np.dtype[np.float32]] | None = None
        self._refused = False

    def get(self, row: int) -> Tensor | None:
        """Return (1, …) of a row, None where it was never put."""
        if self._values is None or not self._known[row]:
            return None
        return torch.from_numpy(self._values[row : row + 1].copy()).to(self._kind)

    def put(self, row: int, value: Tensor) -> None:
        """Keep (1, …)."""
        if self._values is None and not self._refused:
            self._open(value)
        if self._values is not None:
            self._values[row : row + 1] = value.float().cpu().numpy()
            self._known[row] = True

    def _open(self, value: Tensor) -> None:
        shape = (self._rows, *value.shape[1:])
        size = 4 * math.prod(shape)
        try:
            file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - it lives as long as the table
            weakref.finalize(self, file.close)
            _reserve(file.fileno(), size)
        except OSError as error:
            self._refused = True
            logger.warning(
                "The outputs of the frozen layers need %.1f GB in the run folder, which are not available "
                "(%s): they are computed again in every epoch.",
                size / 1e9,
                error.strerror,
            )
            return
        self._kind = value.dtype
        self._values = np.memmap(file, np.float32, "r+", shape=shape)


def _reserve(file: int, size: int) -> None:
    """Give a file its full size on the disk now: a mapped file that finds none later ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    zeros = bytes(_BLOCK)
    for start in range(0, size, _BLOCK):
        os.write(file, zeros[: min(_BLOCK, size - start)])
