"""Segment Anything (Kirillov et al. 2023) in any size: build, encode, decode, count.

Every model here is a transformers `SamModel`, so its weights go in and out of that library unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import SamModel

from adaloraqat.models.architecture import SMALL, TINY, VIT_B, VIT_H, VIT_L, SamArchitecture

__all__ = [
    "SHARED_FREQUENCIES",
    "SMALL",
    "TINY",
    "VIT_B",
    "VIT_H",
    "VIT_L",
    "PromptFreeModel",
    "SamArchitecture",
    "architecture_of",
    "build_sam",
    "count_parameters",
    "decode",
    "encode",
    "initialise_prompt_and_decoder",
    "sam_from_state",
]

SHARED_FREQUENCIES = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)
"""Two names of one tensor (2, D / 2): the frequencies that encode the grid and the box corners alike."""

_ENCODER_STD = 0.02  # ViT's truncated normal


def build_sam(architecture: Mapping[str, Any] | SamArchitecture, attention: str = "sdpa") -> SamModel:
    """Return a SAM of the given config with random weights, ready to be trained from scratch.

    The weights follow the published code, not the transformers defaults, which draw the encoder with a
    deviation of 1e-10 and the positional frequencies with half the encoder's width: nothing could be
    learnt from there. torch's global generator is used; seed it for a repeatable model. The positional
    frequencies are no trainable parameter, as published (there they are a buffer).

    Args:
        architecture: config, or its `to_dict` form.
        attention: "sdpa" (fused) or "eager" (written out).

    Raises:
        RecipeError: the config is inconsistent.
    """
    config = (
        architecture if isinstance(architecture, SamArchitecture) else SamArchitecture.from_dict(architecture)
    )
    sam_config = config.to_config()
    sam_config._attn_implementation = attention
    model = SamModel(sam_config)
    _initialise(model)
    model.shared_image_embedding.positional_embedding.requires_grad_(False)
    return model


def sam_from_state(
    architecture: SamArchitecture, state: Mapping[str, Tensor], attention: str = "sdpa"
) -> SamModel:
    """Return a SAM that holds the tensors of `state` themselves; nothing is drawn or copied.

    Args:
        architecture: config that the tensors have.
        state: the model's `state_dict` names, each once; of `SHARED_FREQUENCIES` the first is enough.
        attention: as in `build_sam`.

    Raises:
        RuntimeError: a name is missing or unknown, or a shape differs (a defect of the caller).
    """
    with torch.device("meta"):
        model = build_sam(architecture, attention)
    shared = nn.Parameter(state[SHARED_FREQUENCIES[0]], requires_grad=False)
    model.load_state_dict({**state, **dict.fromkeys(SHARED_FREQUENCIES, shared)}, assign=True)
    return model


class PromptFreeModel(nn.Module):
    """A network without prompts (U-Net and the like) behind the same `encode` and `decode` as a SAM.

    Images (B, C, S, S) -> logits (B, 1, n, n), where the n×n grid covers the S×S image. So the baselines go
    through the one training loop, the one validation, the one export. A box means nothing to them; whatever
    compares models must compare them with box-less use only.

    Attributes:
        network: the network itself.
        architecture: the config that `adaloraqat.models.families.build` takes to build it again.
    """

    def __init__(self, network: nn.Module, architecture: Mapping[str, Any]) -> None:
        """Wrap `network`."""
        super().__init__()
        self.network = network
        self.architecture = dict(architecture)

    def encode(self, image: Tensor) -> Tensor:
        """Return the logits (B, 1, n, n): all there is to compute, since no prompt follows."""
        return self.network(image)

    def decode(self, embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same logits for every box (B, N, n, n), and zeros (B, N): no quality is predicted."""
        logits = embedding.expand(-1, boxes.shape[1], -1, -1)
        return logits, logits.new_zeros(logits.shape[:2])


def encode(model: SamModel | PromptFreeModel, image: Tensor) -> Tensor:
    """Return the embedding (B, D, g, g) of normalised model images (B, C, S, S)."""
    if isinstance(model, PromptFreeModel):
        return model.encode(image)
    return model.vision_encoder(image).last_hidden_state


def decode(
    model: SamModel | PromptFreeModel,
    embedding: Tensor,
    boxes: Tensor | None,
    points: Tensor | None = None,
    labels: Tensor | None = None,
    masks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the single-mask answer for each prompt, as `SamModel.forward(multimask_output=False)` does.

    Args:
        model: the SAM whose `encode` gave the embedding.
        embedding: (B, D, g, g).
        boxes: (B, N, 4) x_min, y_min, x_max, y_max in model pixels; None: points or masks alone.
        points: (B, N, P, 2) x, y in model pixels.
        labels: (B, N, P) 1 for a point on what is wanted, 0 for one off it.
        masks: (B, 1, 4g, 4g) logits of an earlier answer, one for all N prompts of an image.

    Returns:
        logits (B, N, 4g, 4g), where the 4g×4g grid covers the S×S image, and quality (B, N), the
        predicted IoU of each mask.
    """
    if isinstance(model, PromptFreeModel):
        assert boxes is not None  # its masks are of the whole film
        return model.decode(embedding, boxes)
    sparse, dense = model.prompt_encoder(
        input_points=points, input_labels=labels, input_boxes=boxes, input_masks=masks
    )  # (B, N, tokens, D) or None, (B, D, g, g)
    positions = model.get_image_wide_positional_embeddings()  # (1, D, g, g)
    logits, quality = model.mask_decoder(
        image_embeddings=embedding,
        image_positional_embeddings=positions.repeat(embedding.shape[0], 1, 1, 1),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )  # (B, N, 1, 4g, 4g), (B, N, 1)
    return logits[:, :, 0], quality[:, :, 0]


def architecture_of(model: SamModel | PromptFreeModel) -> dict[str, Any]:
    """Return the config of a model in the form that `models.families.build` takes."""
    own = getattr(model, "architecture", None)  # of every family but SAM itself
    if own is not None:
        return dict(own)
    return SamArchitecture.from_config(model.config).to_dict()


def count_parameters(model: SamModel | PromptFreeModel) -> dict[str, int]:
    """Count the parameters of each part; the shared positional frequencies count once, with the prompts.

    Returns:
        counts under `encoder`, `prompt_encoder`, `mask_decoder` and `total`.
    """
    if isinstance(model, PromptFreeModel):
        count = _count(model)
        return {"encoder": count, "prompt_encoder": 0, "mask_decoder": 0, "total": count}
    counts = {
        "encoder": _count(model.vision_encoder),
        "prompt_encoder": _count(model.prompt_encoder),
        "mask_decoder": _count(model.mask_decoder),
    }
    return counts | {"total": sum(counts.values())}


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def _initialise(model: SamModel) -> None:
    """Draw all weights as the published code does: ViT's normal in the encoder, torch's own elsewhere."""
    initialise_prompt_and_decoder(model)
    for module in model.vision_encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=_ENCODER_STD)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            module.reset_parameters()
    nn.init.trunc_normal_(model.vision_encoder.pos_embed, std=_ENCODER_STD)
    nn.init.normal_(model.shared_image_embedding.positional_embedding)


@torch.no_grad()
def initialise_prompt_and_decoder(model: SamModel) -> None:
    """Draw the layers of prompt encoder and mask decoder as the published code does: torch's own way."""
    for part in (model.prompt_encoder, model.mask_decoder):
        for module in part.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
                module.reset_parameters()
