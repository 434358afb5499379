"""Parity layer by layer: the file's integer products against the fake-quantised layers they came from.

Every quantised product of a file is cut out (QuantizeLinear to Gemm), given the input that the trained
model's layer gets, executed by the engine, and compared. 1 LSB is the step of an 8-bit grid over the layer's
calibrated output range, (high - low) / 255.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor
from transformers import SamModel

from adaloraqat.bundle.engine import onnxruntime_session, openvino_model
from adaloraqat.errors import BundleError
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize import FakeQuantized, fake_quantized_layers

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class LayerParity:
    """How far an engine's quantised layers are from the trained model's, each given the same input.

    Attributes:
        errors: {layer: largest absolute difference, in LSB of the layer's output}.
    """

    errors: dict[str, float]

    @property
    def worst_layer(self) -> str | None:
        """Name of the layer that differs most; None without quantised layers."""
        return max(self.errors, key=self.errors.__getitem__) if self.errors else None

    def to_dict(self) -> dict[str, Any]:
        """Return the summary that a bundle keeps."""
        worst = self.worst_layer
        return {
            "layers": len(self.errors),
            "worst_layer": worst,
            "worst_lsb": None if worst is None else self.errors[worst],
        }


def layer_parity(
    model: SamModel,
    files: list[Path],
    image: Tensor,
    box: Tensor,
    engine: str = "onnxruntime",
    threads: int | None = None,
) -> LayerParity:
    """Compare every quantised layer of `files` with its counterpart in the trained, fake-quantised `model`.

    Args:
        model: after `prepare` and `calibrate`.
        files: encoder.onnx and decoder.onnx as exported from it.
        image: (1, C, S, S) normalised film, whose activations are fed to the layers.
        box: (1, 1, 4) in model pixels.
        engine: "onnxruntime" or "openvino".
        threads: CPU threads of the engine; None leaves it to the engine.

    Raises:
        BundleError: the engine is unknown or not installed, or a layer of the files is not in the model.
    """
    inputs = recorded_inputs(model, image, box)
    layers = fake_quantized_layers(model)
    errors: dict[str, float] = {}
    for file in files:
        for name, found in _executed(file, inputs, engine, threads).items():
            errors[name] = _difference(layers[name], inputs[name], found)
    return LayerParity(errors)


@torch.no_grad()
def recorded_inputs(model: SamModel, image: Tensor, box: Tensor) -> dict[str, Tensor]:
    """Return {layer: (rows, in)}, what each fake-quantised layer multiplies for one film."""
    seen: dict[str, Tensor] = {}

    def recorder(name: str) -> Any:
        def record(layer: FakeQuantized, arguments: tuple[Tensor, ...]) -> None:
            gathered = layer.layout.gather(arguments[0])
            seen[name] = gathered.reshape(-1, gathered.shape[-1]).clone()

        return record

    handles = [
        layer.register_forward_pre_hook(recorder(name))
        for name, layer in fake_quantized_layers(model).items()
    ]
    try:
        decode(model, encode(model, image), box)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _executed(
    file: Path, inputs: Mapping[str, Tensor], engine: str, threads: int | None
) -> dict[str, FloatArray]:
    cut, tensors = products_only(onnx.load(str(file)))
    if not tensors:
        return {}
    missing = sorted(set(tensors) - set(inputs))
    if missing:
        raise BundleError(f"{file.name} holds a layer {missing[0]!r} that the model lacks: export it again.")
    feeds = {source: inputs[name].numpy() for name, (source, _) in tensors.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, file.name)
        onnx.save(cut, str(path))
        outputs = _run(path, feeds, [output for _, output in tensors.values()], engine, threads)
    return dict(zip(tensors, outputs, strict=True))


def _run(
    path: Path, feeds: Mapping[str, FloatArray], outputs: list[str], engine: str, threads: int | None
) -> list[FloatArray]:
    if engine == "onnxruntime":
        found: list[FloatArray] = onnxruntime_session(path, threads).run(outputs, dict(feeds))
        return found
    if engine == "openvino":
        results = openvino_model(path, threads)(dict(feeds))
        return [np.array(results[name]) for name in outputs]
    raise BundleError(f"There is no engine called {engine!r}: choose onnxruntime or openvino.")


def products_only(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, tuple[str, str]]]:
    """Cut a file down to its quantised products, each with an input and an output of its own.

    Returns:
        the smaller model, and {layer: (input tensor, output tensor)}; both tensors are (rows, features).
    """
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: dict[str, onnx.NodeProto] = {}  # by first output: a constant shared by layers is taken once
    layers: dict[str, tuple[str, str]] = {}
    dims: dict[str, list[int]] = {}
    for gemm in (node for node in graph.node if node.op_type == "Gemm"):
        dequantizers = [makers[tensor] for tensor in gemm.input if tensor in makers]
        if [node.op_type for node in dequantizers] != ["DequantizeLinear"] * len(gemm.input):
            continue
        quantizer = makers[dequantizers[0].input[0]]
        weight = dequantizers[1].input[0]
        name = weight.removesuffix(".weight")
        layers[name] = (quantizer.input[0], gemm.output[0])
        for node in (quantizer, *dequantizers, gemm):
            # the exporter writes equal constants once, and an Identity for every further name
            copies = [makers[tensor] for tensor in node.input if tensor in makers]
            nodes |= {copy.output[0]: copy for copy in copies if copy.op_type == "Identity"}
            nodes[node.output[0]] = node
        source = weight if weight in constants else makers[weight].input[0]
        dims[name] = list(constants[source].dims)
    used = {tensor for node in nodes.values() for tensor in node.input}
    cut = helper.make_graph(
        list(nodes.values()),
        "quantised products",
        [_rows(source, dims[name][0]) for name, (source, _) in layers.items()],
        [_rows(output, dims[name][1]) for name, (_, output) in layers.items()],
        [tensor for tensor in graph.initializer if tensor.name in used],
    )
    return helper.make_model(cut, opset_imports=model.opset_import, ir_version=model.ir_version), layers


def _rows(tensor: str, features: int) -> onnx.ValueInfoProto:
    # A number of rows for each tensor: the layers have nothing to do with each other any more.
    return helper.make_tensor_value_info(tensor, TensorProto.FLOAT, [f"rows of {tensor}", features])


@torch.no_grad()
def _difference(layer: FakeQuantized, rows: Tensor, found: FloatArray) -> float:
    expected = layer.product(rows).numpy()
    low, high = (float(bound) for bound in layer.output_range)
    step = max(high - low, float(np.finfo(np.float32).eps)) / 255
    return float(np.abs(expected - found).max()) / step
