"""A run's model as an engine of the Segmenter: it is scored through the same code as a bundle."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adaloraqat.bundle.engine import FloatArray
from adaloraqat.bundle.format import BOX_LABELS, Bundle, Prompt, StoredPrecision
from adaloraqat.bundle.segmenter import Segmenter
from adaloraqat.models.families import SegmentationModel, accepts_boxes
from adaloraqat.models.published import SHIPPED_BASE
from adaloraqat.models.sam import architecture_of, decode, encode
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.recipe import Recipe, load_recipe
from adaloraqat.training.run import LoadedRun, names_run
from adaloraqat.training.run_folder import RECIPE


class TorchEngine:
    """Runs a `SamModel` (adapted or fake-quantised too) behind the interface of the integer engines."""

    name = "pytorch"

    def __init__(self, model: torch.nn.Module, accepts_points: bool = False) -> None:
        """Take a model, and whether it knows points and masks."""
        self.model, self.accepts_points = model.eval(), accepts_points

    @torch.no_grad()
    def encode(self, image: FloatArray) -> FloatArray:
        """Return the embedding (1, D, g, g) of a preprocessed image (C, S, S)."""
        return np.asarray(encode(self.model, torch.from_numpy(image)[None]).numpy())

    @torch.no_grad()
    def decode(
        self, embedding: FloatArray, boxes: FloatArray, labels: NDArray[np.int64] | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """See `bundle.engine.Engine.decode`."""
        places = torch.from_numpy(boxes)[None]
        prompts = (places,) if labels is None else _apart(places, torch.from_numpy(labels)[None])
        logits, quality = decode(self.model, torch.from_numpy(embedding), *prompts)
        return np.asarray(logits[0].numpy()), np.asarray(quality[0].numpy())

    @torch.no_grad()
    def embed_mask(self, logits: FloatArray) -> FloatArray:
        """Return (1, D, g, g), what a mask prompt of logits (4g, 4g) adds to the embedding."""
        prompts: Any = self.model.prompt_encoder
        dense = prompts.mask_embed(torch.from_numpy(logits)[None, None])
        return np.asarray((dense - prompts.no_mask_embed.weight[:, :, None, None]).numpy())

    def structures(self, embedding: FloatArray) -> tuple[FloatArray, float]:
        """A run has no head for structures; a bundle that was exported from it may get one."""
        raise NotImplementedError


def _apart(places: Tensor, labels: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return boxes (1, N, 4), points (1, N, P, 2) and their labels of what a decoder graph takes as one row.

    transformers adds the empty point itself.
    """
    points = places.unflatten(-1, (-1, 2)) if labels.shape[-1] else places.reshape(*labels.shape, 2)
    boxes = None
    if labels.shape[-1] > 1 and tuple(labels[0, 0, -2:].tolist()) == BOX_LABELS:
        boxes, points, labels = places[..., -4:], points[:, :, :-2], labels[..., :-2]
    elif labels.shape[-1]:
        points, labels = points[:, :, :-1], labels[..., :-1]
    return boxes, *((points, labels) if labels.shape[-1] else (None, None))


def run_segmenter(run: LoadedRun, second_pass: bool = False, smallest_part: float = 0.0) -> Segmenter:
    """Return a Segmenter that executes the run's trained model in PyTorch."""
    prompt = Prompt(
        second_pass,
        quality_trained(run.recipe),
        accepts_boxes(run.model),
        masks_trained=masks_trained(run.recipe),
    )
    name, points = f"{run.recipe.name}/{run.stage}", accepts_boxes(run.model) and knows_points(run.recipe)
    outlines = run.recipe.outlines
    return model_segmenter(run.model, run.preprocessing, prompt, name, outlines, smallest_part, points)


def model_segmenter(
    model: SegmentationModel,
    preprocessing: Preprocessing,
    prompt: Prompt,
    name: str = "model",
    outlines: str = "",
    smallest_part: float = 0.0,
    accepts_points: bool = False,
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
    return Segmenter(description, TorchEngine(model, accepts_points))


def quality_trained(recipe: Recipe) -> bool:
    """Whether any stage trained the IoU head; a base that ships has it trained."""
    return any(stage.losses.quality > 0 for stage in recipe.stages)


def masks_trained(recipe: Recipe) -> bool:
    """Whether some steps were prompted by masks: every click but the first, and one after a box, sees one."""
    clicks = recipe.prompts.clicks
    return clicks is not None and (clicks.most > 1 or clicks.with_box > 0)


def knows_points(recipe: Recipe) -> bool:
    """Whether points and masks mean anything to what a recipe trains.

    They do where it trains with clicks, or starts from published weights or a run that does; not to what was
    trained from scratch with boxes, the base that ships among it.
    """
    if recipe.prompts.clicks is not None or recipe.base.weights is None:
        return recipe.prompts.clicks is not None
    weights = recipe.base.weights
    if names_run(weights):
        return knows_points(load_recipe(Path(weights) / RECIPE))
    return weights != SHIPPED_BASE
