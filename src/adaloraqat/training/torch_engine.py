"""A run's model as an engine of the Segmenter: it is scored through the same code as a bundle."""

from pathlib import Path

import numpy as np
import torch

from adaloraqat.bundle.engine import FloatArray
from adaloraqat.bundle.format import Bundle, Prompt, StoredPrecision
from adaloraqat.bundle.segmenter import Segmenter
from adaloraqat.models.families import accepts_boxes
from adaloraqat.models.sam import decode, encode
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.run import LoadedRun


class TorchEngine:
    """Runs a `SamModel` (adapted or fake-quantised too) behind the interface of the integer engines."""

    name = "pytorch"

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model.eval()

    @torch.no_grad()
    def encode(self, image: FloatArray) -> FloatArray:
        """Return the embedding (1, D, g, g) of a preprocessed image (C, S, S)."""
        return np.asarray(encode(self.model, torch.from_numpy(image)[None]).numpy())

    @torch.no_grad()
    def decode(self, embedding: FloatArray, boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return logits (N, 4g, 4g) and quality (N,) for boxes (N, 4) in model pixels."""
        logits, quality = decode(self.model, torch.from_numpy(embedding), torch.from_numpy(boxes)[None])
        return np.asarray(logits[0].numpy()), np.asarray(quality[0].numpy())


def run_segmenter(run: LoadedRun, second_pass: bool = False, smallest_part: float = 0.0) -> Segmenter:
    """Return a Segmenter that executes the run's trained model in PyTorch."""
    description = Bundle(
        folder=Path("."),
        format_version=1,
        name=f"{run.recipe.name}/{run.stage}",
        architecture=run.structure.architecture,
        preprocessing=run.preprocessing,
        precision=StoredPrecision("as trained", "none", {}),
        prompt=Prompt(second_pass, quality_trained(run.recipe), accepts_boxes(run.model)),
        outlines=run.recipe.outlines,
        training={},
        parameters={},
        ranks=run.structure.ranks or {},
        metrics={},
        parity={},
        licence="",
        intended_use="",
        files={},
        smallest_part=smallest_part,
    )
    return Segmenter(description, TorchEngine(run.model))


def quality_trained(recipe: Recipe) -> bool:
    """Whether any stage trained the IoU head; a base that ships has it trained."""
    return any(stage.losses.quality > 0 for stage in recipe.stages)
