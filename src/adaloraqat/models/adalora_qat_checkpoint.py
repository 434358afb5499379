"""Reading the checkpoints that the authors of AdaLoRA-QAT publish (arXiv 2604.01167 and its public code).

`best_model_stage1_fp32.pth` and `best_model_stage2_int8.pth` are float32 throughout, the second one too: it
holds no integer, no scale and no range. Adapters are merged here, W + (alpha / target_rank) · P diag(Λ · m) Q
on the q, k and v thirds; what is rounded is the policy `reference`. See `docs/adalora_qat_checkpoint.md`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import SamModel

from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.models.adalora_qat_adapters import (
    ALONE,
    PUBLISHED,
    Scaling,
    count_parameters,
    kept_ranks,
    merged_weight,
    scaling_beside,
    scaling_in,
    scaling_of,
)
from adaloraqat.models.adalora_qat_naming import (
    Parts,
    adapters_alone,
    is_adalora_qat_naming,
    split,
    without_prefix,
)
from adaloraqat.models.architecture import SamArchitecture
from adaloraqat.models.checkpoint_files import WRAPPERS, load_pickled
from adaloraqat.models.checkpoints import load_base, model_from_state
from adaloraqat.models.published import PUBLISHED_WEIGHTS
from adaloraqat.models.weight_naming import count_indices, infer_decoder_config, infer_vit_config
from adaloraqat.radiograph import Preprocessing

_KEPT = ("epoch", "val_dice", "val_metrics", "stage1_dice", "quantized_layers", "timestamp", "max_rank")
_ROUNDED = ".weight_quant"  # the submodule that Brevitas gives every layer that it rounds
_DECODER_HEADS = (8, 4, 2, 1)


@dataclass(frozen=True)
class AdaLoRAQATCheckpoint:
    """A published checkpoint, its adapters merged.

    Attributes:
        model: the merged SAM, float32, in eval mode; its weights are not rounded.
        file: the file's name.
        stage: 1 (float) or 2 (trained with rounded weights); None where the file does not tell.
        scaling: what the adapters were multiplied by.
        ranks: {adapted projection: directions that its mask keeps}, named like an adapter here.
        adapter_parameters: numbers in all P, Λ and Q, pruned directions included.
        whole: False for adapters alone, which were put on another file's base.
        copied: whether every adapted block stood in the file twice.
        rounded: the linear layers that the authors' code rounded, where the file still tells; else None.
        provenance: what the file says of its training (epoch, val_dice, ...), plain values.
        notices: what a person should know about how it was read, a sentence each.
    """

    model: SamModel
    file: str
    stage: int | None
    scaling: Scaling
    ranks: dict[str, int]
    adapter_parameters: int
    whole: bool
    copied: bool
    rounded: frozenset[str] | None
    provenance: dict[str, Any]
    notices: tuple[str, ...]


def read_adalora_qat(
    path: str | os.PathLike[str],
    alpha: float | None = None,
    target_rank: int | None = None,
    base: str | os.PathLike[str] | None = None,
) -> AdaLoRAQATCheckpoint:
    """Read a published checkpoint, or its adapters alone beside a base.

    Args:
        path: `best_model_*.pth`, a bare state dictionary of that naming, or `best_adalora_*.pth`.
        alpha: numerator of the scaling. A whole checkpoint does not hold it.
        target_rank: denominator; both or neither. Without them they are read from the file itself, from a
            `best_adalora_*.pth` beside it that holds the same adapters, or are the published 32 / 32.
        base: for adapters alone: what `load_base` reads.

    Raises:
        CheckpointError: no such file, damaged, another naming, contradictory, NaN, parts missing or of
            another shape.
        RecipeError: `alpha`, `target_rank` or `base` cannot be used.
    """
    source = Path(path)
    if not source.is_file():
        raise CheckpointError(f"There is no checkpoint at {source.name}: check the path.")
    given = scaling_of(alpha, target_rank)
    content = load_pickled(source)
    if isinstance(content, dict) and ALONE in content:
        return _adapters_beside(content, source.name, given, base)
    if base is not None:
        raise RecipeError(f"{source.name} holds its own base weights: leave --base out.")
    return _whole(content, source, given)


def sam_preprocessing(size: int) -> Preprocessing:
    """Return the preprocessing of the authors' `inference.py`: SAM's, of the fixed range 0 to 255."""
    return replace(PUBLISHED_WEIGHTS["sam-vit-base"].preprocessing, image_size=size)


def is_adalora_qat_file(path: Path) -> bool:
    """Whether a file holds a checkpoint, or adapters alone, of AdaLoRA-QAT's public code.

    Raises:
        CheckpointError: no PyTorch file, or a damaged one.
    """
    content = load_pickled(path)
    if not isinstance(content, dict):
        return False
    if "adalora_state_dict" in content:
        return True
    state, _ = _state_in(content)
    return is_adalora_qat_naming(map(str, state))


def _whole(content: object, source: Path, given: Scaling | None) -> AdaLoRAQATCheckpoint:
    file = source.name
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{file} holds no dictionary of weights: give an AdaLoRA-QAT checkpoint.")
    state, outer = _state_in(content)
    odd = [
        str(name)
        for name, value in state.items()
        if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if not is_adalora_qat_naming(map(str, state)):
        raise CheckpointError(
            f"{file} is not a checkpoint of AdaLoRA-QAT's public code, because it lacks the adapters "
            "(attn.qkv.P_q and so on): give best_model_stage1_fp32.pth, best_model_stage2_int8.pth or "
            "best_adalora_*.pth."
        )
    if odd:
        raise CheckpointError(
            f"{file} holds {odd[0]!r} among its weights, which is not a tensor: download it again."
        )
    metadata = getattr(state, "_metadata", None)
    parts = split(state, file)
    notices: list[str] = []
    scaling = (
        given
        or scaling_beside(source, parts.adapters, notices)
        or Scaling(*PUBLISHED, "published; the file does not hold it")
    )
    config = _infer_config(parts.base, file, notices)
    tensors = dict(parts.base)
    for block, adapter in parts.adapters.items():
        name = f"vision_encoder.layers.{block}.attn.qkv.weight"
        tensors[name] = merged_weight(tensors[name], adapter, scaling.factor, f"{parts.prefix}{name}", file)
    rounded = _rounded(metadata)
    return AdaLoRAQATCheckpoint(
        model_from_state(config, tensors, file),
        file,
        _stage(outer, parts, rounded),
        scaling,
        kept_ranks(parts.adapters),
        count_parameters(parts.adapters),
        True,
        parts.copied,
        rounded,
        _provenance(outer),
        tuple(notices),
    )


def _adapters_beside(
    content: Mapping[str, Any],
    file: str,
    given: Scaling | None,
    base: str | os.PathLike[str] | None,
) -> AdaLoRAQATCheckpoint:
    if base is None:
        raise RecipeError(
            f"{file} holds adapters only: give the weights that they belong to with --base "
            "(the authors' are facebook/sam-vit-base), or export best_model_*.pth, which holds both."
        )
    adapters = adapters_alone(content, file)
    scaling = (
        given
        or scaling_in(content, "read from the file")
        or Scaling(*PUBLISHED, "published; the file does not hold it")
    )
    model = load_base(base)
    layers = getattr(model.vision_encoder, "layers", ())
    fitting = all(block < len(layers) and hasattr(layers[block], "attn") for block in adapters)
    if not fitting:
        raise CheckpointError(
            f"{file} holds adapters of block {max(adapters)} of a SAM with a ViT encoder, which "
            f"{Path(base).name} does not have: give the base that they were trained on."
        )
    for block, adapter in adapters.items():
        qkv = layers[block].attn.qkv
        merged = merged_weight(qkv.weight.detach(), adapter, scaling.factor, f"layer_{block}", file)
        qkv.weight = torch.nn.Parameter(merged, requires_grad=qkv.weight.requires_grad)
    notice = (
        f"{file} holds adapters only: mask decoder and prompt encoder are those of {Path(base).name}, not "
        "the trained ones, which are in best_model_*.pth only."
    )
    return AdaLoRAQATCheckpoint(
        model.eval(),
        file,
        None,
        scaling,
        kept_ranks(adapters),
        count_parameters(adapters),
        False,
        False,
        None,
        _provenance(content),
        (notice,),
    )


def _infer_config(state: Mapping[str, Tensor], file: str, notices: list[str]) -> SamArchitecture:
    """Read the config from shapes; the decoder's heads show in none, 8 are assumed where they fit."""
    try:
        other_names = {  # as segment-anything calls them
            "prompt_encoder.mask_downscaling.3.weight": state["prompt_encoder.mask_embed.conv2.weight"],
            "mask_decoder.iou_prediction_head.layers.0.weight": state[
                "mask_decoder.iou_prediction_head.proj_in.weight"
            ],
        }
        decoder = infer_decoder_config({**state, **other_names})
        decoder["iou_head_depth"] = 2 + count_indices(
            state, r"mask_decoder\.iou_prediction_head\.layers\.(\d+)\."
        )
        width = decoder["prompt_dim"]
        decoder["decoder_heads"] = next(heads for heads in _DECODER_HEADS if width % (2 * heads) == 0)
        encoder = infer_vit_config(
            state,
            "vision_encoder.patch_embed.projection",
            "vision_encoder.pos_embed",
            "vision_encoder.layers",
        )
        config = SamArchitecture.from_dict({**encoder, **decoder})
    except KeyError as error:
        raise CheckpointError(
            f"{file} lacks sam.{error.args[0]}, so its architecture cannot be read: download the file again."
        ) from error
    except (ValueError, IndexError, ZeroDivisionError, StopIteration, RecipeError) as error:
        raise CheckpointError(
            f"{file} holds tensors whose shapes are not those of a SAM with a ViT encoder: give a checkpoint "
            "as AdaLoRA-QAT's code writes it."
        ) from error
    if config.decoder_heads != _DECODER_HEADS[0]:
        notices.append(
            f"The mask decoder's width {width} does not divide into 8 heads as in every published SAM: "
            f"{config.decoder_heads} are assumed, which no shape can confirm."
        )
    return config


def _state_in(content: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], Mapping[Any, Any]]:
    """Return the state dictionary, and the outer one that wraps it (empty where it is bare)."""
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), dict):
            return content[wrapper], content
    return content, {}


def _stage(outer: Mapping[Any, Any], parts: Parts, rounded: frozenset[str] | None) -> int | None:
    if "quantized_layers" in outer or "stage1_dice" in outer or rounded:
        return 2
    if parts.qat_mode is not None:
        return 2 if parts.qat_mode else 1
    return 1 if rounded is not None else None


def _rounded(metadata: object) -> frozenset[str] | None:
    """Return the layers that Brevitas rounded, as `_metadata` lists them; None where a file has lost that."""
    if not isinstance(metadata, Mapping):
        return None
    listed = (str(name).removesuffix(_ROUNDED) for name in metadata if str(name).endswith(_ROUNDED))
    return frozenset(without_prefix(name) for name in listed)


def _provenance(outer: Mapping[Any, Any]) -> dict[str, Any]:
    kept = {key: _plain(outer[key]) for key in _KEPT if key in outer}
    return {key: value for key, value in kept.items() if value is not None}


def _plain(value: Any) -> Any:
    """Return a JSON value; None for what is not one, such as NaN."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int | str) else None
