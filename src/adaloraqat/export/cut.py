"""A file cut down to its quantised products, each with inputs and an output of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

_PRODUCTS = ("Gemm", "Conv", "MatMul")
_WEIGHT, _LEFT_SCALE = ".weight", ".left_scale"  # what the exporter's constants are called after their module


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


def products_only(
    model: onnx.ModelProto, products: Sequence[QuantizedProduct], shapes: Mapping[str, Sequence[int]]
) -> onnx.ModelProto:
    """Return a model of these products alone; `shapes` are those of their input tensors."""
    # by first output: what is shared by products is taken once
    nodes = {node.output[0]: node for product in products for node in product.nodes}
    used = {tensor for node in nodes.values() for tensor in node.input}
    cut = helper.make_graph(
        list(nodes.values()),
        "quantised products",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(product.output, TensorProto.FLOAT, None) for product in products],
        [tensor for tensor in model.graph.initializer if tensor.name in used],
    )
    return helper.make_model(cut, opset_imports=model.opset_import, ir_version=model.ir_version)


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
