"""A run's model as an engine of the Segmenter: it is scored through the same code as a bundle."""

from pathlib import Path

import numpy as np
import torch

from adaloraqat.bundle.engine import FloatArray
from adaloraqat.bundle.format import Bundle, Prompt, StoredPrecision
from adaloraqat.bundle.segmenter import Segmenter
from adaloraqat.models.families import SegmentationModel, accepts_boxes
from adaloraqat.models.sam import architecture_of, decode, encode
from adaloraqat.radiograph import Preprocessing
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
    prompt = Prompt(second_pass, quality_trained(run.recipe), accepts_boxes(run.model))
    name = f"{run.recipe.name}/{run.stage}"
    return model_segmenter(run.model, run.preprocessing, prompt, name, run.recipe.outlines, smallest_part)


def model_segmenter(
    model: SegmentationModel,
    preprocessing: Preprocessing,
    prompt: Prompt,
    name: str = "model",
    outlines: str = "",
    smallest_part: float = 0.0,
) -> Segmenter:
    """Return a Segmenter that executes any model in PyTorch, prompted and tidied as said."""
    description = Bundle(
        folder=Path("."),
        format_version=1,
        name=name,
        architecture=architecture_of(model),
        preprocessing=preprocessing,
        precision=StoredPrecision("as trained", "none", {}),
        prompt=prompt,
        outlines=outlines,
        training={},
        parameters={},
        ranks={},
        metrics={},
        parity={},
        licence="",
        intended_use="",
        files={},
        smallest_part=smallest_part,
    )
    return Segmenter(description, TorchEngine(model))


def quality_trained(recipe: Recipe) -> bool:
    """Whether any stage trained the IoU head; a base that ships has it trained."""
    return any(stage.losses.quality > 0 for stage in recipe.stages)
