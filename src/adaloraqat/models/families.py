"""Every kind of model that a recipe can name, built from its config: SAM, LiteMedSAM, and the baselines.

An architecture is a dictionary; its key `family` says which kind it is ("sam" where it is missing). Each has
at least `image_size` and `channels`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import nn
from transformers import SamModel

from adaloraqat.errors import RecipeError
from adaloraqat.models import sam
from adaloraqat.models.baselines import build_deeplab_v3_plus, build_segformer, build_unet
from adaloraqat.models.interpolate import resize_model
from adaloraqat.models.lite_medsam import build_lite_medsam
from adaloraqat.models.prompt_free import PromptFreeModel

__all__ = ["FAMILIES", "SegmentationModel", "accepts_boxes", "build", "check", "resize"]

SegmentationModel: TypeAlias = SamModel | PromptFreeModel
"""What the training loop, the validation and the export take; LiteMedSAM is a `SamModel` too."""


FAMILIES: dict[str, Callable[[Mapping[str, Any]], SegmentationModel]] = {
    "sam": sam.build_sam,
    "lite_medsam": build_lite_medsam,
    "unet": build_unet,
    "segformer": build_segformer,
    "deeplab_v3_plus": build_deeplab_v3_plus,
}
"""Builders by family; each takes the whole architecture and returns random weights (torch's generator)."""


def build(architecture: Mapping[str, Any]) -> SegmentationModel:
    """Return a model of this config with random weights.

    Raises:
        RecipeError: no such family, or the config is inconsistent.
    """
    family = str(architecture.get("family", "sam"))
    if family not in FAMILIES:
        raise RecipeError(
            f"There is no model family {family!r}: architecture.family is one of {', '.join(FAMILIES)}."
        )
    return FAMILIES[family](architecture)


def check(architecture: Mapping[str, Any]) -> None:
    """Refuse a config that cannot be built; nothing is allocated (the meta device).

    Raises:
        RecipeError: no such family, or the config is inconsistent.
    """
    with torch.device("meta"):
        build(architecture)


def resize(model: SegmentationModel, image_size: int) -> SegmentationModel:
    """Return the model for square images of `image_size` px, with the same weights.

    A SAM's position tables are interpolated (in a copy); a network without prompts has none and stays.

    Raises:
        RecipeError: the model cannot have this size.
    """
    if not isinstance(model, PromptFreeModel):
        return resize_model(model, image_size)
    config = {**model.architecture, "image_size": image_size}
    check(config)
    model.architecture = config
    return model


def accepts_boxes(model: nn.Module) -> bool:
    """Whether a box prompt means anything to the model."""
    return not isinstance(model, PromptFreeModel)
