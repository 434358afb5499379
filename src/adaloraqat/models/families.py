"""Every kind of model that a recipe can name, built from its measures: SAM, LiteMedSAM, and the baselines.

An architecture is a dictionary; its key `family` says which kind it is ("sam" where it is missing). Each has
at least `image_size` and `channels`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import nn
from transformers import SamModel

from adaloraqat.errors import RecipeError
from adaloraqat.models import sam
from adaloraqat.models.prompt_free import PromptFreeModel

__all__ = ["FAMILIES", "SegmentationModel", "accepts_boxes", "build"]

SegmentationModel: TypeAlias = SamModel | PromptFreeModel
"""What the training loop, the validation and the export take; LiteMedSAM is a `SamModel` too."""

FAMILIES: dict[str, Callable[[Mapping[str, Any]], SegmentationModel]] = {
    "sam": sam.build_sam,
}
"""Builders by family; each takes the whole architecture and returns random weights (torch's generator)."""


def build(architecture: Mapping[str, Any]) -> SegmentationModel:
    """Return a model of these measures with random weights.

    Raises:
        RecipeError: no such family, or the measures do not fit together.
    """
    family = str(architecture.get("family", "sam"))
    if family not in FAMILIES:
        raise RecipeError(
            f"There is no model family {family!r}: architecture.family is one of {', '.join(FAMILIES)}."
        )
    return FAMILIES[family](architecture)


def accepts_boxes(model: nn.Module) -> bool:
    """Whether a box prompt means anything to the model."""
    return not isinstance(model, PromptFreeModel)
