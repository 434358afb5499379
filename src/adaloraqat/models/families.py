"""Every kind of model that a recipe can name, built from its config: SAM, LiteMedSAM, and the baselines.

An architecture is a dictionary; its key `family` says which kind it is ("sam" where it is missing). Each has
at least `image_size` and `channels`. With another image size the same weights serve on: position tables are
interpolated, all else is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SamModel

from adaloraqat.errors import RecipeError
from adaloraqat.models.baselines import build_deeplab_v3_plus, build_segformer, build_unet
from adaloraqat.models.lite_medsam import LiteMedSam, build_lite_medsam, lite_medsam_from_state
from adaloraqat.models.sam import PromptFreeModel, SamArchitecture, architecture_of, build_sam, sam_from_state

SegmentationModel: TypeAlias = SamModel | PromptFreeModel
"""What the training loop, the validation and the export take; LiteMedSAM is a `SamModel` too."""

FAMILIES: dict[str, Callable[[Mapping[str, Any]], SegmentationModel]] = {
    "sam": build_sam,
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


def resize_positions(table: Tensor, grid: int) -> Tensor:
    """Return the absolute position table (1, g, g, D) on another grid (1, grid, grid, D).

    Bicubic, with the filter widened when the grid shrinks, so that no old position is skipped.
    """
    if table.shape[1] == grid:
        return table.clone()
    resized = F.interpolate(
        table.permute(0, 3, 1, 2),  # (1, D, g, g)
        size=(grid, grid),
        mode="bicubic",
        align_corners=False,
        antialias=True,
    )
    return resized.permute(0, 2, 3, 1).contiguous()


def resize_relative_positions(table: Tensor, grid: int) -> Tensor:
    """Return the relative position table (2g - 1, d) for another grid (2 grid - 1, d).

    Linear, as ViTDet's attention itself reads a table of another length (Li et al. 2022).
    """
    length = 2 * grid - 1
    if table.shape[0] == length:
        return table.clone()
    resized = F.interpolate(table.t()[None], size=length, mode="linear", align_corners=False)  # (1, d, L)
    return resized[0].t().contiguous()


@torch.no_grad()
def resize_model(model: SamModel, image_size: int) -> SamModel:
    """Return a copy of `model` for square images of `image_size` px; the given model is left as it is.

    The absolute table and the relative tables of the global layers are interpolated; window layers keep
    theirs, because a window counts the same patches at every image size. A LiteMedSAM has window layers only:
    its stages get other grids, and no weight changes. Boxes are from then on in pixels
    of the new size. Mode (train or eval), precision, device and what is frozen are carried over.

    Raises:
        RecipeError: `image_size` is not a multiple of the patch size.
    """
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    attention = model.config._attn_implementation
    if isinstance(model, LiteMedSam):
        config = replace(model.lite_medsam_config, image_size=image_size)
        return _like(model, lite_medsam_from_state(config, state, attention))
    new = replace(SamArchitecture.from_dict(architecture_of(model)), image_size=image_size)
    return _like(model, sam_from_state(new, _resized(state, new), attention))


def _resized(state: dict[str, Tensor], new: SamArchitecture) -> dict[str, Tensor]:
    state["vision_encoder.pos_embed"] = resize_positions(state["vision_encoder.pos_embed"], new.grid)
    if new.use_rel_pos:
        for layer in new.global_attention_layers:
            for axis in "hw":
                name = f"vision_encoder.layers.{layer}.attn.rel_pos_{axis}"
                state[name] = resize_relative_positions(state[name], new.grid)
    return state


def _like(model: SamModel, resized: SamModel) -> SamModel:
    """Give `resized` the mode of `model`, and freeze in it what is frozen there."""
    trainable = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for name, parameter in resized.named_parameters():
        parameter.requires_grad_(trainable[name])
    return resized.train(model.training)
