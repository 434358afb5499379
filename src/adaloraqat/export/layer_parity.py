"""Parity layer by layer: the file's integer products against the fake-quantised layers they came from.

Every quantised product of a file is taken out (`extract_subgraph`), given the input that the trained model's
layer gets, executed by the engine, and compared. 1 LSB is the step of an 8-bit grid over the layer's
calibrated output range, (high - low) / 255, or the step of the output's own grid where it has one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor
from transformers import SamModel

from adaloraqat.bundle.runtimes import onnxruntime_session, openvino_model
from adaloraqat.errors import BundleError
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize.fake_quantize import FakeQuantized, FakeQuantizedProduct
from adaloraqat.quantize.preparation import fake_quantized
from adaloraqat.renamed import renamed_names

FloatArray = NDArray[np.float32]
_PRODUCTS = ("Gemm", "Conv", "MatMul")
_WEIGHT, _LEFT_SCALE = ".weight", ".left_scale"  # what the exporter's constants are called after their module


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
    layers = fake_quantized(model)
    errors: dict[str, float] = {}
    for file in files:
        for name, found in _executed(file, inputs, engine, threads).items():
            errors[name] = _difference(layers[name], inputs[name], found)
    return LayerParity(errors)


@torch.no_grad()
def recorded_inputs(model: SamModel, image: Tensor, box: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """Return what each fake-quantised layer multiplies for one film, by its name.

    Rows (rows, in) of a layer that is one matrix product, (1, C, h, w) of a convolution, and two tensors
    (..., m, k) and (..., k, n) of a product of activations.
    """
    seen: dict[str, tuple[Tensor, ...]] = {}

    def recorder(name: str) -> Any:
        def record(layer: FakeQuantized | FakeQuantizedProduct, arguments: tuple[Tensor, ...]) -> None:
            seen[name] = _multiplied(layer, arguments)

        return record

    handles = [
        layer.register_forward_pre_hook(recorder(name)) for name, layer in fake_quantized(model).items()
    ]
    try:
        decode(model, encode(model, image), box)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _multiplied(
    layer: FakeQuantized | FakeQuantizedProduct, arguments: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    if isinstance(layer, FakeQuantizedProduct):
        bound = float(layer.right_quantizer.scale) * layer.right_quantizer.limit
        return arguments[0].clone(), arguments[1].clamp(-bound, bound)  # the file clips too
    gathered = layer.layout.gather(arguments[0])
    if layer.precision.outputs:
        return (gathered.clone(),)
    return (gathered.reshape(-1, gathered.shape[-1]).clone(),)


def _executed(
    file: Path, inputs: Mapping[str, tuple[Tensor, ...]], engine: str, threads: int | None
) -> dict[str, FloatArray]:
    model = onnx.load(str(file))
    products = quantized_products(model)
    if not products:
        return {}
    missing = sorted({product.name for product in products} - set(inputs))
    if missing:
        raise BundleError(f"{file.name} holds a layer {missing[0]!r} that the model lacks: export it again.")
    feeds = {
        source: tensor.numpy()
        for product in products
        for source, tensor in zip(product.inputs, inputs[product.name], strict=True)
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, file.name)
        onnx.save(extract_subgraph(model, products, {name: feed.shape for name, feed in feeds.items()}), path)
        outputs = _run(path, feeds, [product.output for product in products], engine, threads)
    return {product.name: found for product, found in zip(products, outputs, strict=True)}


def _run(
    path: Path, feeds: Mapping[str, FloatArray], outputs: list[str], engine: str, threads: int | None
) -> list[FloatArray]:
    if engine == "onnxruntime":
        return onnxruntime_session(path, threads).run(outputs, dict(feeds))
    if engine == "openvino":
        results = openvino_model(path, threads)(dict(feeds))
        return [np.array(results[name]) for name in outputs]
    raise BundleError(f"There is no engine called {engine!r}: choose onnxruntime or openvino.")


@torch.no_grad()
def _difference(
    layer: FakeQuantized | FakeQuantizedProduct, inputs: tuple[Tensor, ...], found: FloatArray
) -> float:
    expected = layer.product(*inputs) if isinstance(layer, FakeQuantized) else layer(*inputs)
    return float(np.abs(expected.numpy() - found).max()) / layer.output_step()


@dataclass(frozen=True)
class QuantizedProduct:
    """One quantised product in a graph.

    Attributes:
        name: of the module that it is.
        inputs: names for the float tensors that are quantised and multiplied: one, or two where both are
            activations. In the whole graph they may be the output of another product.
        output: the float tensor that comes out; of a convolution after its own rounding.
        nodes: all its nodes, in order.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    nodes: tuple[onnx.NodeProto, ...]


def quantized_products(model: onnx.ModelProto) -> list[QuantizedProduct]:
    """Return the products whose every operand is dequantised, in the graph's order."""
    graph = _Graph(model.graph)
    return [graph.product(node) for node in model.graph.node if graph.is_quantized(node)]


def extract_subgraph(
    model: onnx.ModelProto, products: Sequence[QuantizedProduct], shapes: Mapping[str, Sequence[int]]
) -> onnx.ModelProto:
    """Return a model of these products alone; `shapes` are those of their input tensors."""
    # by first output: what is shared by products is taken once
    nodes = {node.output[0]: node for product in products for node in product.nodes}
    used = {tensor for node in nodes.values() for tensor in node.input}
    subgraph = helper.make_graph(
        list(nodes.values()),
        "quantised products",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(product.output, TensorProto.FLOAT, None) for product in products],
        [tensor for tensor in model.graph.initializer if tensor.name in used],
    )
    return helper.make_model(subgraph, opset_imports=model.opset_import, ir_version=model.ir_version)


class _Graph:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.makers = {output: node for node in graph.node for output in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for tensor in node.input:
                self.users.setdefault(tensor, []).append(node)

    def is_quantized(self, node: onnx.NodeProto) -> bool:
        operands = [self.makers.get(tensor) for tensor in node.input]
        return node.op_type in _PRODUCTS and all(
            maker is not None and maker.op_type == "DequantizeLinear" for maker in operands
        )

    def product(self, node: onnx.NodeProto) -> QuantizedProduct:
        dequantizers = [self.makers[tensor] for tensor in node.input]
        quantizers = [self.makers[d.input[0]] for d in dequantizers if self._quantizes(d.input[0])]
        after = list(self._rounding(node)) if node.op_type == "Conv" else []
        nodes = [*quantizers, *dequantizers, node, *after]
        named = dequantizers[1].input[0] if len(quantizers) == 1 else quantizers[0].input[1]
        name = named.removesuffix(_WEIGHT).removesuffix(_LEFT_SCALE)
        inputs = tuple(f"{name}: input {place}" for place in range(len(quantizers)))
        fed = [_with_input(node, tensor) for node, tensor in zip(quantizers, inputs, strict=True)]
        nodes[: len(fed)] = fed
        return QuantizedProduct(name, inputs, nodes[-1].output[0], (*self._copies(nodes), *nodes))

    def _quantizes(self, tensor: str) -> bool:
        return tensor in self.makers and self.makers[tensor].op_type == "QuantizeLinear"

    def _rounding(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """The pair after a convolution that rounds its output."""
        (quantizer,) = self.users[node.output[0]]
        (dequantizer,) = self.users[quantizer.output[0]]
        yield from (quantizer, dequantizer)

    def _copies(self, nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
        """The exporter writes equal constants once, and an Identity for every further name."""
        for node in nodes:
            for tensor in node.input:
                if tensor in self.makers and self.makers[tensor].op_type == "Identity":
                    yield self.makers[tensor]


def _with_input(node: onnx.NodeProto, tensor: str) -> onnx.NodeProto:
    """Return a copy of `node` whose first input is `tensor`."""
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    copied.input[0] = tensor
    return copied


if not TYPE_CHECKING:  # type checkers still report unknown names
    __getattr__ = renamed_names(__name__, {"products_only": "extract_subgraph"})
