"""The names that Meta's segment-anything gives its tensors, and the transformers names for the same ones.

Source: `segment_anything/modeling/{image_encoder,prompt_encoder,mask_decoder,transformer}.py`. MedSAM keeps
these names. The fused qkv rows stand in the order q, k, v (three thirds) on both sides, each third by head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.models.architecture import SamArchitecture
from adaloraqat.models.sam import SHARED_FREQUENCIES

NOT_WEIGHTS = frozenset({"pixel_mean", "pixel_std"})
"""Preprocessing that some files carry along; it is not a part of the network."""

_PREFIXES = {  # a published module, and what it is called in transformers
    "image_encoder.patch_embed.proj": "vision_encoder.patch_embed.projection",
    "image_encoder.neck.0": "vision_encoder.neck.conv1",
    "image_encoder.neck.1": "vision_encoder.neck.layer_norm1",
    "image_encoder.neck.2": "vision_encoder.neck.conv2",
    "image_encoder.neck.3": "vision_encoder.neck.layer_norm2",
    "prompt_encoder.mask_downscaling.0": "prompt_encoder.mask_embed.conv1",
    "prompt_encoder.mask_downscaling.1": "prompt_encoder.mask_embed.layer_norm1",
    "prompt_encoder.mask_downscaling.3": "prompt_encoder.mask_embed.conv2",
    "prompt_encoder.mask_downscaling.4": "prompt_encoder.mask_embed.layer_norm2",
    "prompt_encoder.mask_downscaling.6": "prompt_encoder.mask_embed.conv3",
    "prompt_encoder.not_a_point_embed": "prompt_encoder.not_a_point_embed",
    "prompt_encoder.no_mask_embed": "prompt_encoder.no_mask_embed",
    "mask_decoder.output_upscaling.0": "mask_decoder.upscale_conv1",
    "mask_decoder.output_upscaling.1": "mask_decoder.upscale_layer_norm",
    "mask_decoder.output_upscaling.3": "mask_decoder.upscale_conv2",
    "mask_decoder.iou_token": "mask_decoder.iou_token",
    "mask_decoder.mask_tokens": "mask_decoder.mask_tokens",
    "mask_decoder.transformer.norm_final_attn": "mask_decoder.transformer.layer_norm_final_attn",
    "mask_decoder.transformer.final_attn_token_to_image": (
        "mask_decoder.transformer.final_attn_token_to_image"
    ),
}
_EXACT = {
    "image_encoder.pos_embed": "vision_encoder.pos_embed",
    "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": SHARED_FREQUENCIES[0],
}
_BLOCK = re.compile(r"image_encoder\.blocks\.(\d+)\.(?:norm([12])|(attn|mlp))\.(.+)")
_TWO_WAY = re.compile(
    r"mask_decoder\.transformer\.layers\.(\d+)\.(?:norm([1-4])|(self_attn|cross_attn_\w+|mlp))\.(.+)"
)
_POINT = re.compile(r"prompt_encoder\.point_embeddings\.(\d+)\.(.+)")
_HEAD = re.compile(
    r"(mask_decoder\.(?:iou_prediction_head|output_hypernetworks_mlps\.\d+))\.layers\.(\d+)\.(.+)"
)


def is_meta_naming(names: Iterable[str]) -> bool:
    """Return whether these are tensor names of segment-anything."""
    return any(name.startswith("image_encoder.") for name in names)


def to_transformers(
    state: Mapping[str, Tensor], file: str, other: Callable[[str], str | None] = lambda name: None
) -> dict[str, Tensor]:
    """Give each tensor its transformers name, every one exactly once.

    Args:
        state: tensors under Meta's names.
        file: name for messages.
        other: names another encoder's tensors, None for those that it does not know.

    Raises:
        CheckpointError: names that segment-anything does not have, or two names for one tensor.
    """
    depths = _head_depths(state)
    names = {name: other(name) or _renamed(name, depths) for name in state if name not in NOT_WEIGHTS}
    unknown = [name for name, new in names.items() if new is None]
    if unknown:
        raise CheckpointError(
            f"{file} holds {len(unknown)} tensors that Segment Anything does not have "
            f"({', '.join(sorted(unknown)[:3])}): give Meta's or MedSAM's original weights."
        )
    converted = {str(new): state[name] for name, new in names.items()}
    if len(converted) != len(names):
        raise CheckpointError(f"{file} holds one tensor under two names: give the original file.")
    return converted


def infer_architecture(state: Mapping[str, Tensor], file: str) -> SamArchitecture:
    """Read the config from the shapes of Meta-named tensors.

    Heads and windows show only in the relative position tables; a file without these needs the
    architecture from the caller. The decoder's 8 heads show nowhere: every published model has 8.

    Raises:
        CheckpointError: the shapes are not those of a SAM, or do not tell the architecture.
    """
    try:
        return _infer_config(state)
    except KeyError as error:
        raise CheckpointError(
            f"{file} lacks the tensor {error.args[0]}, so its architecture cannot be read: "
            "give a complete SAM ViT checkpoint, or name the architecture."
        ) from error
    except (ValueError, IndexError, ZeroDivisionError, RecipeError) as error:
        raise CheckpointError(
            f"{file} holds tensors whose shapes are not those of a SAM with a ViT encoder: "
            "give Meta's or MedSAM's original weights."
        ) from error


def _infer_config(state: Mapping[str, Tensor]) -> SamArchitecture:
    encoder = infer_vit_config(
        state, "image_encoder.patch_embed.proj", "image_encoder.pos_embed", "image_encoder.blocks"
    )
    return SamArchitecture(**{**encoder, **infer_decoder_config(state)})


def infer_vit_config(
    state: Mapping[str, Tensor], patches: str, positions: str, blocks: str
) -> dict[str, Any]:
    """Read the config of a ViT encoder, by its names in the architecture.

    Args:
        state: tensors that hold an encoder's.
        patches: what the patch embedding is called in `state`.
        positions: the position table's name.
        blocks: what stands before the number of each block.

    Raises:
        KeyError: a tensor is missing.
        ValueError: the shapes are not those of a SAM.
    """
    hidden, channels, patch, _ = state[f"{patches}.weight"].shape
    _, grid, _, _ = state[positions].shape
    layers = count_indices(state, rf"{re.escape(blocks)}\.(\d+)\.")
    lengths = [state[f"{blocks}.{i}.attn.rel_pos_h"].shape[0] for i in range(layers)]
    head_dim = state[f"{blocks}.0.attn.rel_pos_h"].shape[1]
    windows = {(length + 1) // 2 for length in lengths if length != 2 * grid - 1}
    (window,) = windows or {grid}  # a window as large as the grid is global attention
    return {
        "image_size": grid * patch,
        "patch_size": patch,
        "hidden_size": hidden,
        "num_layers": layers,
        "num_heads": hidden // head_dim,
        "mlp_dim": state[f"{blocks}.0.mlp.lin1.weight"].shape[0],
        "window_size": window,
        "global_attention_layers": tuple(i for i in range(layers) if lengths[i] == 2 * grid - 1),
        "use_rel_pos": True,
        "channels": channels,
    }


def infer_decoder_config(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Read the config of prompt encoder and mask decoder, by its names in the architecture.

    Raises:
        KeyError: a tensor is missing.
    """
    return {
        "prompt_dim": state["prompt_encoder.no_mask_embed.weight"].shape[1],
        "decoder_mlp_dim": state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
        "decoder_layers": count_indices(state, r"mask_decoder\.transformer\.layers\.(\d+)\."),
        "decoder_heads": 8,
        "mask_input_channels": state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        "num_multimask_outputs": state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
        "iou_head_depth": count_indices(state, r"mask_decoder\.iou_prediction_head\.layers\.(\d+)\."),
        "iou_head_hidden_dim": state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
    }


def count_indices(state: Mapping[str, Tensor], pattern: str) -> int:
    """Return how many there are of what `pattern` numbers, from 0, in its first group."""
    found = [re.match(pattern, name) for name in state]
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)


def _head_depths(names: Iterable[str]) -> dict[str, int]:
    """Count the linear layers of each MLP head, because the last one has a name of its own."""
    depths: dict[str, int] = {}
    for name in names:
        if match := _HEAD.fullmatch(name):
            depths[match.group(1)] = max(depths.get(match.group(1), 0), int(match.group(2)) + 1)
    return depths


def _renamed(name: str, depths: Mapping[str, int]) -> str | None:
    """Return the transformers name, or None where segment-anything has no such name."""
    if name in _EXACT:
        return _EXACT[name]
    module, _, leaf = name.rpartition(".")
    if module in _PREFIXES:
        return f"{_PREFIXES[module]}.{leaf}"
    parent, _, child = module.rpartition(".")
    if parent in _PREFIXES:
        return f"{_PREFIXES[parent]}.{child}.{leaf}"
    if match := _BLOCK.fullmatch(name):
        return f"vision_encoder.layers.{_layer_part(match)}"
    if match := _TWO_WAY.fullmatch(name):
        return f"mask_decoder.transformer.layers.{_layer_part(match)}"
    if match := _POINT.fullmatch(name):
        return f"prompt_encoder.point_embed.{match.group(1)}.{match.group(2)}"
    if match := _HEAD.fullmatch(name):
        head, layer = match.group(1), int(match.group(2))
        return f"{head}.{_head_layer(layer, depths[head])}.{match.group(3)}"
    return None


def _layer_part(match: re.Match[str]) -> str:
    index, norm, module, rest = match.groups()
    return f"{index}.{f'layer_norm{norm}' if norm else module}.{rest}"


def _head_layer(layer: int, depth: int) -> str:
    if layer == 0:
        return "proj_in"
    return "proj_out" if layer == depth - 1 else f"layers.{layer - 1}"
