"""Another image size for the same weights: position tables are interpolated, all else is kept."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import SamModel

from adaloraqat.models.lite_medsam import LiteMedSam, lite_medsam_from_state
from adaloraqat.models.sam import SamArchitecture, architecture_of, sam_from_state


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
