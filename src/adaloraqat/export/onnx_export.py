"""Writing the encoder and the decoder of a SAM as standard ONNX."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from transformers import SamModel

from adaloraqat.bundle.format import BOX_LABELS
from adaloraqat.export.folding import fold_small_constants
from adaloraqat.export.graphs import (
    DecoderGraph,
    EncoderGraph,
    MaskPromptGraph,
    NetworkGraph,
    RepeatGraph,
)
from adaloraqat.files import atomic_path
from adaloraqat.models.families import SegmentationModel
from adaloraqat.models.sam import PromptFreeModel

Model = TypeVar("Model", bound=nn.Module)

OPSET = 17
"""The ONNX operator set written, the first with LayerNormalization."""

_BATCH = {name: {0: "B"} for name in ("image", "embedding")}


def export_encoder(model: SegmentationModel, path: str | os.PathLike[str]) -> None:
    """Write `image` (B, C, S, S) float32 -> `embedding` (B, D, g, g) float32 to `path`, for any B.

    Args:
        model: what `adaloraqat.quantize.convert` returned, in any precision. It is not changed.
        path: the ONNX file; it appears whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    if isinstance(model, PromptFreeModel):
        size, channels = model.architecture["image_size"], model.architecture["channels"]
        graph = NetworkGraph(_own_copy(model))
        write_onnx(graph, (torch.zeros(2, channels, size, size),), path, ["image"], ["embedding"], _BATCH)
        return
    config = model.config.vision_config
    image = torch.zeros(2, config.num_channels, config.image_size, config.image_size)
    write_onnx(EncoderGraph(_own_copy(model)), (image,), path, ["image"], ["embedding"], _BATCH)


def export_decoder(model: SegmentationModel, path: str | os.PathLike[str], any_prompt: bool = False) -> None:
    """Write `embedding` (1, D, g, g), `boxes` (N, 4) -> `logits` (N, 4g, 4g), `quality` (N,), for any N.

    Args:
        model: what `adaloraqat.quantize.convert` returned, in any precision. It is not changed.
        path: the ONNX file; it appears whole or not at all.
        any_prompt: the file takes points too: `boxes` (N, 2T), and the optional input `labels` (N or 1, T)
            int64, which is `BOX_LABELS` where it is not given (see `graphs.DecoderGraph`).

    Raises:
        OutputError: the file cannot be written.
    """
    graph: nn.Module
    if isinstance(model, PromptFreeModel):
        size, channels = model.architecture["image_size"], model.architecture["channels"]
        own = _own_copy(model)
        with torch.no_grad():
            embedding = own.encode(torch.zeros(1, channels, size, size))  # (1, 1, n, n)
        graph = RepeatGraph()
    else:
        config = model.config.prompt_encoder_config
        grid = config.image_embedding_size
        embedding = torch.zeros(1, config.hidden_size, grid, grid)
        graph = DecoderGraph(_own_copy(model), any_prompt)
    if any_prompt:
        _export_any_prompt(graph, embedding, path)
        return
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 2.0, 2.0]])
    dynamic = {name: {0: "N"} for name in ("boxes", "logits", "quality")}
    write_onnx(
        graph,
        (embedding, boxes),
        path,
        ["embedding", "boxes"],
        ["logits", "quality"],
        dynamic,
    )


def _export_any_prompt(graph: nn.Module, embedding: Tensor, path: str | os.PathLike[str]) -> None:
    points, labels = torch.ones(2, 6), torch.tensor([[1, 0, -1], [0, 2, 3]])
    dynamic = {
        "boxes": {0: "N", 1: "2T"},
        "labels": {0: "L", 1: "T"},
        "logits": {0: "N"},
        "quality": {0: "N"},
    }
    with atomic_path(path) as temporary:
        arguments = (embedding, points, labels)
        write_onnx(
            graph, arguments, temporary, ["embedding", "boxes", "labels"], ["logits", "quality"], dynamic
        )
        written = onnx.load(str(temporary))
        # an input that has a value in the file is one that need not be given
        written.graph.initializer.append(onnx.numpy_helper.from_array(np.array([BOX_LABELS]), "labels"))
        onnx.checker.check_model(written)
        onnx.save(written, str(temporary))


def export_mask_prompt(model: SamModel, path: str | os.PathLike[str]) -> None:
    """Write `mask` (1, 1, 4g, 4g) -> `dense` (1, D, g, g), what a mask prompt adds to the embedding.

    Args:
        model: as for `export_decoder`.
        path: the ONNX file; it appears whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    side = 4 * model.config.prompt_encoder_config.image_embedding_size
    graph = MaskPromptGraph(_own_copy(model))
    write_onnx(graph, (torch.zeros(1, 1, side, side),), path, ["mask"], ["dense"])


def _own_copy(model: Model) -> Model:
    return copy.deepcopy(model).eval().to("cpu")


def write_onnx(
    graph: nn.Module,
    arguments: tuple[Tensor, ...],
    path: str | os.PathLike[str],
    inputs: list[str],
    outputs: list[str],
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Write any traceable module as checked ONNX, integer layers as QuantizeLinear and DequantizeLinear.

    Args:
        graph: in eval mode or not; it is traced in eval mode.
        arguments: example inputs, whose sizes become constants except where `dynamic` says otherwise.
        path: the ONNX file; it appears whole or not at all.
        inputs: names of the inputs.
        outputs: names of the outputs.
        dynamic: {tensor name: {axis: name of the axis}}.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary, warnings.catch_warnings(), torch.no_grad():
        # Deliberate: only this exporter lets an autograd.Function write its own operators, and it is 3-5
        # times faster.
        for message in ("You are using the legacy TorchScript", "The feature will be removed"):
            warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        # Instance normalisation has no other mode, and nothing is to be folded.
        for message in ("ONNX export mode is set to .* operator 'instance_norm'", "Constant folding"):
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        torch.onnx.export(
            graph.eval(),
            arguments,
            str(temporary),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: dict(axes) for name, axes in (dynamic or {}).items()},
            opset_version=OPSET,
            # This folding would turn float16 weights and gathered tables back into float32 constants in the
            # file. Engines do that when they load it.
            do_constant_folding=False,
            dynamo=False,
        )
        written = onnx.load(str(temporary))
        fold_small_constants(written)
        onnx.save(written, str(temporary))
        onnx.checker.check_model(str(temporary))
