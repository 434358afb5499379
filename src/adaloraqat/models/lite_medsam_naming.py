"""The names that LiteMedSAM's and MobileSAM's files give their encoder, and ours for the same tensors.

Source: `tiny_vit_sam.py` of bowang-lab/MedSAM (branch LiteMedSAM) and of ChaoningZhang/MobileSAM. Prompt
encoder and mask decoder carry segment-anything's names (`meta_naming`). MobileSAM's file also holds the
classifier that TinyViT was trained with; it is not a part of the network. Some files hold tables that are
computed from others; they are checked against what they must be, and left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.models.lite_medsam_architecture import STAGES, LiteMedSAMArchitecture
from adaloraqat.models.meta_naming import count_indices, infer_decoder_config

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
    try:
        return _infer_config(state)
    except KeyError as error:
        raise CheckpointError(
            f"{file} lacks the tensor {error.args[0]}, so its architecture cannot be read: give a complete "
            "LiteMedSAM or MobileSAM checkpoint, or name the architecture."
        ) from error
    except (ValueError, IndexError, ZeroDivisionError, RecipeError) as error:
        raise CheckpointError(
            f"{file} holds tensors whose shapes are not those of a LiteMedSAM or MobileSAM: give the "
            "original weights."
        ) from error


def _infer_config(state: Mapping[str, Tensor]) -> LiteMedSAMArchitecture:
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
        mlp_ratio=state[f"{layers}.1.blocks.0.mlp.fc1.weight"].shape[0] // dims[1],
        expand_ratio=state[f"{layers}.0.blocks.0.conv1.c.weight"].shape[0] // dims[0],
        **decoder,
    )
