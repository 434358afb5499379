"""The weights of a bundle, as a model that can be trained further.

A bundle's graphs hold every weight under the name it had, as it was stored: INT8 with a scale per channel,
or float. What was stored in INT8 comes back as the numbers that the bundle computes with, so the model
answers as the bundle does before its first step; where that computes in integers, but for the rounding of
activations. Batch norms were folded into their convolutions: they come back as norms that change nothing and
carry the bias. Of SAM's four mask heads a bundle keeps the one that answers; the others start as copies of
it. What embeds prompts that a bundle does not take (points, masks) starts untrained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from adaloraqat.bundle.format import Bundle
from adaloraqat.errors import CheckpointError
from adaloraqat.models.sam import SHARED_FREQUENCIES

_PARTS = ("encoder.onnx", "decoder.onnx", "mask_prompt.onnx")
_HEAD = re.compile(r"(.*output_hypernetworks_mlps)\.[123]\.(.*)")
_NORM = re.compile(r"(.*)\.bn\.(weight|bias|running_mean|running_var|num_batches_tracked)")
_PROMPTS = "prompt_encoder."
NORM_EPS = 1e-5
"""Of the batch norms of a TinyViT: with this variance less, dividing by its root changes nothing."""

Array = NDArray[Any]


def state_of_bundle(bundle: Bundle, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a bundle under the names of the model it was exported from.

    Args:
        bundle: one of a model that takes boxes.
        wanted: {name: tensor} of an untrained model of the bundle's architecture, whose shapes are the
            model's.

    Raises:
        CheckpointError: a graph is damaged, or does not hold a weight under its name.
    """
    name = bundle.name
    stored: dict[str, Array] = {}
    for part in _PARTS:
        if (bundle.folder / part).is_file():
            stored |= _stored(bundle.folder / part, name)
    try:
        stored[SHARED_FREQUENCIES[0]] = np.stack([stored["frequency_x"], stored["frequency_y"]])
        found = {
            key: _tensor(key, stored, like) for key, like in wanted.items() if key not in SHARED_FREQUENCIES
        }
    except KeyError as error:
        raise CheckpointError(
            f"The graphs of {name} do not hold {error.args[0]}: train on from the run that it was exported "
            "from."
        ) from error
    frequencies = torch.from_numpy(stored[SHARED_FREQUENCIES[0]].copy())
    return found | dict.fromkeys((key for key in SHARED_FREQUENCIES if key in wanted), frequencies)


def _tensor(key: str, stored: Mapping[str, Array], like: Tensor) -> Tensor:
    """Return one tensor of the model; the graph's own where it has one of that name."""
    norm, head = _NORM.fullmatch(key), _HEAD.fullmatch(key)
    if norm is not None and key not in stored:
        convolution, what = norm.groups()
        if what == "bias":
            return torch.from_numpy(stored[f"{convolution}.c.bias"].copy()).reshape(like.shape)
        value = {"weight": 1.0, "running_mean": 0.0, "running_var": 1.0 - NORM_EPS}.get(what, 0)
        return torch.full_like(like, value, device="cpu")
    if key.startswith(_PROMPTS) and key not in stored:
        return like.clone()
    if head is not None and key not in stored:
        key = f"{head[1]}.0.{head[2]}"
    return torch.from_numpy(stored[key].copy()).reshape(like.shape)


def _stored(path: Path, name: str) -> dict[str, Array]:
    """Return every float initializer of a graph, those in INT8 as the numbers they stand for."""
    try:
        graph = onnx.load(path).graph
        raw = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        found = {key: value.astype(np.float32) for key, value in raw.items() if value.dtype.kind == "f"}
        for node in graph.node:
            if node.op_type == "Identity" and node.input[0] in raw:  # equal weights are stored once
                raw[node.output[0]] = raw[node.input[0]]
            if node.op_type == "DequantizeLinear" and node.input[0] in raw:
                found[node.input[0]] = _dequantised(node, raw)
        for name_in_graph in _transposed(graph, found):
            found[name_in_graph] = np.ascontiguousarray(found[name_in_graph].T)
        for node in graph.node:
            if node.op_type == "Identity" and node.input[0] in found:
                found[node.output[0]] = found[node.input[0]]
    except (OSError, ValueError, KeyError, IndexError, TypeError, DecodeError) as error:
        raise CheckpointError(f"{path.name} of {name} is damaged: export the bundle again.") from error
    return found


def _transposed(graph: onnx.GraphProto, found: Mapping[str, Array]) -> set[str]:
    """Return the matrices that are stored as (in, out): products of integers want them so."""
    origin = {name: name for name in found}
    for node in graph.node:
        if node.op_type in ("DequantizeLinear", "Identity") and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
    return {
        origin[node.input[1]]
        for node in graph.node
        if node.op_type == "Gemm"
        and node.input[1] in origin
        and not any(each.name == "transB" and each.i for each in node.attribute)
    }


def _dequantised(node: onnx.NodeProto, raw: Mapping[str, Array]) -> Array:
    """Return scale · (stored - zero point), the scale along the node's axis, as the engine computes it."""
    weight, scale = raw[node.input[0]], raw[node.input[1]].astype(np.float32)
    zero = raw[node.input[2]].astype(np.int32) if len(node.input) > 2 and node.input[2] else np.int32(0)
    if scale.ndim:
        axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
        shape = [-1 if place == axis else 1 for place in range(weight.ndim)]
        scale = scale.reshape(shape)
        zero = zero.reshape(shape) if np.ndim(zero) else zero
    return ((weight.astype(np.int32) - zero).astype(np.float32) * scale).astype(np.float32)
