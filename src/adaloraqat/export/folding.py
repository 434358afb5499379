"""Folding small constants of an ONNX graph, so that engines have fewer nodes to work through at the start."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

MOST_BYTES = 4096
"""Of a value that is folded, so that stored weights and compact tables stay as they are in the file."""

_STORED = frozenset({"QuantizeLinear", "DequantizeLinear"})  # engines find integer products by them


def fold_small_constants(model: onnx.ModelProto) -> None:
    """Compute, in place, what follows from small constants alone, and drop nodes that only pass a value on.

    What a traced module leaves behind for shapes, axes and scales is half of its nodes. Parameters keep their
    names, as do the graph's inputs and outputs, also those that have a value in the file. A graph with others
    inside (loops, branches) is left as it is.
    """
    graph = model.graph
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        return
    given = {value.name for value in (*graph.input, *graph.output)}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    parameters = {name for name, tensor in tensors.items() if _is_parameter(tensor)}
    known = {
        name: onnx.numpy_helper.to_array(tensor)
        for name, tensor in tensors.items()
        if name not in given and name not in parameters and tensor.ByteSize() <= MOST_BYTES
    }
    computed: dict[str, NDArray[Any]] = {}
    same: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        ends = {*node.input, *node.output}
        if node.op_type == "Identity" and not ends & given and not ends & parameters:
            same[node.output[0]] = node.input[0]
            continue
        values = None if given & set(node.output) else _folded(node, known)
        if values is None:
            nodes.append(node)
        else:
            known |= values
            computed |= values
    used = {name for node in nodes for name in node.input} | given
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    first: dict[tuple[Any, ...], str] = {}  # of equal values
    for name in [name for name in computed if name in used]:
        value = computed[name]
        same[name] = first.setdefault((value.dtype.str, value.shape, value.tobytes()), name)
        if same[name] == name:
            kept.append(onnx.numpy_helper.from_array(value, name))
    for node in nodes:
        node.input[:] = [same.get(name, name) for name in node.input]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def _is_parameter(tensor: onnx.TensorProto) -> bool:
    """Return whether a module's weight, bias or table is in the file under its name, to be found there."""
    return tensor.data_type != onnx.TensorProto.INT64 and bool(tensor.dims) and tensor.dims != [1]


def _folded(node: onnx.NodeProto, known: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]] | None:
    """Return the values of a node's outputs; None where they are large, or hang on what is not known."""
    inputs = [name for name in node.input if name]
    if (
        node.domain  # not an operator of ONNX
        or node.op_type in _STORED
        or not (inputs or node.op_type == "Constant")
        or not known.keys() >= set(inputs)
    ):
        return None
    values = ReferenceEvaluator(node).run(None, {name: known[name] for name in inputs})
    arrays = [np.asarray(value) for value in values]
    if any(array.nbytes > MOST_BYTES for array in arrays):
        return None
    return dict(zip(node.output, arrays, strict=True))
