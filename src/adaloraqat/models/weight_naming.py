"""The names that published files give their tensors, and ours, transformers', for the same ones.

Meta's: `segment_anything/modeling/{image_encoder,prompt_encoder,mask_decoder,transformer}.py`; MedSAM keeps
these names. The fused qkv rows stand in the order q, k, v (three thirds) on both sides, each third by head.

LiteMedSAM and MobileSAM: `tiny_vit_sam.py` of bowang-lab/MedSAM (branch LiteMedSAM) and of
ChaoningZhang/MobileSAM; prompt encoder and mask decoder carry Meta's names. MobileSAM's file also holds the
classifier that TinyViT was trained with; it is not a part of the network. Some files hold tables that are
computed from others; they are checked against what they must be, and left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.models.architecture import SamArchitecture
from adaloraqat.models.lite_medsam_architecture import STAGES, LiteMedSAMArchitecture
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
    with _told_by_shapes(file, "SAM ViT", "SAM with a ViT encoder", "Meta's or MedSAM's original weights"):
        return _infer_config(state)


@contextmanager
def _told_by_shapes(file: str, complete: str, family: str, originals: str) -> Iterator[None]:
    """Refuse, with a sentence, tensors that are missing or whose shapes are not those of the family.

    Raises:
        CheckpointError: says what `file` lacks, or what to give instead.
    """
    try:
        yield
    except KeyError as error:
        raise CheckpointError(
            f"{file} lacks the tensor {error.args[0]}, so its architecture cannot be read: give a complete "
            f"{complete} checkpoint, or name the architecture."
        ) from error
    except (ValueError, IndexError, ZeroDivisionError, RecipeError) as error:
        raise CheckpointError(
            f"{file} holds tensors whose shapes are not those of a {family}: give {originals}."
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


# ---- LiteMedSAM and MobileSAM -------------------------------------------------------------------------

_ROOT = "image_encoder"
_CLASSIFIER = (f"{_ROOT}.norm_head.", f"{_ROOT}.head.")
_CONV_NORM = r"(?:c\.weight|bn\.(?:weight|bias|running_mean|running_var|num_batches_tracked))"
_SAME = re.compile(
    rf"{_ROOT}\.(?:patch_embed\.seq\.[02]\.{_CONV_NORM}"
    rf"|layers\.\d+\.(?:downsample\.conv[123]|blocks\.\d+\.(?:conv[123]|local_conv))\.{_CONV_NORM}"
    r"|layers\.\d+\.blocks\.\d+\.(?:attn\.attention_biases"
    r"|(?:attn\.(?:norm|qkv|proj)|mlp\.norm)\.(?:weight|bias)))"
)
_MLP = re.compile(rf"{_ROOT}\.(layers\.\d+\.blocks\.\d+\.mlp)\.fc([12])\.(weight|bias)")
_DERIVED = re.compile(rf"({_ROOT}\.layers\.\d+\.blocks\.\d+\.attn)\.(attention_bias_idxs|ab)")
_STRIDE_1_WIDTHS = (320, 448, 576)  # the published merging does not make the grid coarser at these widths
_LITE_MEDSAM_SIZE, _MOBILE_SAM_SIZE = 256, 1024


def is_lite_medsam_naming(names: Iterable[str]) -> bool:
    """Return whether these are tensor names of LiteMedSAM or MobileSAM."""
    return any(name.startswith(f"{_ROOT}.patch_embed.seq.") for name in names)


def tiny_vit_name(name: str) -> str | None:
    """Return our name of a published encoder tensor, or None where the encoder has none of that name."""
    if _SAME.fullmatch(name):
        return f"vision_encoder{name.removeprefix(_ROOT)}"
    if match := _MLP.fullmatch(name):
        return f"vision_encoder.{match.group(1)}.lin{match.group(2)}.{match.group(3)}"
    return None


def without_derived(state: Mapping[str, Tensor], file: str) -> dict[str, Tensor]:
    """Leave out the classifier and the tables that follow from other tensors.

    Raises:
        CheckpointError: such a table is not what it must be.
    """
    kept: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = _DERIVED.fullmatch(name)
        if match:
            biases = state.get(f"{match.group(1)}.attention_biases")
            if biases is None or not _follows(match.group(2), tensor, biases):
                raise CheckpointError(
                    f"{file} holds {name}, which does not fit its attention_biases: download the weights "
                    "again."
                )
        elif not name.startswith(_CLASSIFIER):
            kept[name] = tensor
    return kept


def _follows(kind: str, table: Tensor, biases: Tensor) -> bool:
    """Whether a table is the index of token pairs (n², n²), or the biases gathered by it (heads, n², n²)."""
    side = math.isqrt(biases.shape[-1])
    place = torch.arange(side * side)
    row, column = place // side, place % side
    index = (row[:, None] - row).abs() * side + (column[:, None] - column).abs()
    expected = index if kind == "attention_bias_idxs" else biases[:, index]
    return bool(table.shape == expected.shape) and bool((table == expected).all())


def infer_lite_medsam(state: Mapping[str, Tensor], file: str) -> LiteMedSAMArchitecture:
    """Read the config from the shapes of published tensors.

    Image size and merging strides show nowhere: LiteMedSAM (1×1 patch embedding) works at 256 px, MobileSAM
    (3×3) at 1024 px, and both merge with stride 2 but before the widths 320, 448 and 576.

    Raises:
        CheckpointError: the shapes are not those of such a model.
    """
    names = "LiteMedSAM or MobileSAM"
    with _told_by_shapes(file, names, names, "the original weights"):
        return _infer_lite_config(state)


def _infer_lite_config(state: Mapping[str, Tensor]) -> LiteMedSAMArchitecture:
    layers = f"{_ROOT}.layers"
    _, channels, kernel, _ = state[f"{_ROOT}.patch_embed.seq.0.c.weight"].shape
    first, _, _, _ = state[f"{_ROOT}.patch_embed.seq.2.c.weight"].shape
    dims = (first, *(state[f"{layers}.{i}.downsample.conv3.c.weight"].shape[0] for i in range(STAGES - 1)))
    biases = [state[f"{layers}.{i}.blocks.0.attn.attention_biases"].shape for i in range(1, STAGES)]
    stride = 1 if kernel == 1 else 4
    decoder = infer_decoder_config(state)
    return LiteMedSAMArchitecture(
        image_size=_LITE_MEDSAM_SIZE if stride == 1 else _MOBILE_SAM_SIZE,
        channels=channels,
        embed_dims=dims,
        depths=tuple(count_indices(state, rf"image_encoder\.layers\.{i}\.blocks\.(\d+)\.") for i in range(4)),
        num_heads=(2, *(heads for heads, _ in biases)),  # stage 0 has no heads and no windows
        window_sizes=(7, *(math.isqrt(distances) for _, distances in biases)),
        patch_stride=stride,
        merge_strides=tuple(1 if width in _STRIDE_1_WIDTHS else 2 for width in dims[1:]),
        fine_grid=False,  # ours: no published file has it
        mlp_ratio=state[f"{layers}.1.blocks.0.mlp.fc1.weight"].shape[0] // dims[1],
        expand_ratio=state[f"{layers}.0.blocks.0.conv1.c.weight"].shape[0] // dims[0],
        **decoder,
    )
