"""Which matrix products an engine really executes in integers, counted in its optimised graph.

A file full of int8 tensors may still run in floating point (an engine that finds no integer kernel for a
pattern dequantises in silence), so the only honest count is the engine's own.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaloraqat.bundle.format import DECODER, ENCODER, Bundle
from adaloraqat.bundle.runtimes import onnxruntime_session, openvino_model
from adaloraqat.errors import BundleError, refused_as

_ONNXRUNTIME_PRODUCTS = {
    *("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"),
    *("FusedMatMul", "FusedGemm", "FusedConv", "NhwcFusedConv", "NhwcConv"),
    *("QLinearMatMul", "QGemm", "QLinearConv", "MatMulInteger", "MatMulIntegerToFloat", "ConvInteger"),
    *("DynamicQuantizeMatMul", "QLinearConvTranspose", "MatMulNBits"),
    *("Attention", "MultiHeadAttention", "QAttention", "DynamicQuantizeLSTM"),
}
_INTEGER_WHATEVER_THE_INPUT = {"DynamicQuantizeMatMul", "QAttention"}  # they quantise their input themselves
_OPENVINO_PRODUCTS = {"MatMul", "FullyConnected", "Convolution", "Deconvolution", "ScaledDotProductAttention"}
_INTEGERS = {"uint8", "int8", "u8", "i8"}
_QUANTISES = {"QuantizeLinear", "FakeQuantize"}
_FUSED = "Subgraph"  # OpenVINO's generated code: a whole attention, with the names of what it took in


@dataclass(frozen=True)
class MatrixProducts:
    """Executed matrix products and convolutions, counted by operator; a fused chain counts once."""

    integer: dict[str, int]
    floating: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Counts and their sums, for JSON."""
        return {
            "integer": sum(self.integer.values()),
            "float": sum(self.floating.values()),
            "integer_operators": self.integer,
            "float_operators": self.floating,
        }


def matrix_products(bundle: Bundle, engine: str = "onnxruntime") -> dict[str, MatrixProducts]:
    """Count, for the encoder and the decoder, what `engine` executes; each graph runs at most once, on zeros.

    Returns:
        {"encoder": ..., "decoder": ...}.

    Raises:
        BundleError: the engine is unknown, not installed, or does not run the graphs.
    """
    if engine == "onnxruntime":
        size, channels = bundle.preprocessing.image_size, bundle.preprocessing.channels
        image = np.zeros((1, channels, size, size), np.float32)
        encoder, embedding = _profile(bundle.encoder, {"image": image})
        boxes = np.array([[0, 0, size, size]], np.float32)
        decoder, _ = _profile(bundle.decoder, {"embedding": embedding, "boxes": boxes})
        return {"encoder": encoder, "decoder": decoder}
    if engine == "openvino":
        graphs = {"encoder": ENCODER, "decoder": DECODER}
        return {part: _runtime_model(bundle.openvino_graph(graph)) for part, graph in graphs.items()}
    raise BundleError(f"There is no engine called {engine!r}: choose onnxruntime or openvino.")


def _profile(path: Path, inputs: dict[str, np.ndarray]) -> tuple[MatrixProducts, np.ndarray]:
    """Run one graph with ONNX Runtime's profiler on; also return the first output."""
    with tempfile.TemporaryDirectory() as folder:
        session = onnxruntime_session(path, profile_prefix=str(Path(folder, "profile")))
        with refused_as(BundleError(f"ONNX Runtime cannot run {path.name}: export the bundle again.")):
            outputs = session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return _count(_executed(events)), outputs[0]


def _executed(events: list[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    """Operator and whether it is an integer one, for each node in a profile."""
    for event in events:
        arguments = event.get("args", {})
        operator = arguments.get("op_name", "")
        if event.get("cat") != "Node" or operator not in _ONNXRUNTIME_PRODUCTS:
            continue
        types = [kind for entry in arguments.get("input_type_shape", [])[:1] for kind in entry]
        yield operator, operator in _INTEGER_WHATEVER_THE_INPUT or bool(_INTEGERS & set(types))


def _runtime_model(path: Path) -> MatrixProducts:
    executed: list[tuple[str, bool]] = []
    for node in openvino_model(path).get_runtime_model().get_ordered_ops():
        about = node.get_rt_info()
        operator = _text(about, "layerType")
        if operator == _FUSED:
            executed += _products_within(_text(about, "originalLayersNames"), _takes_integers(node))
        elif operator in _OPENVINO_PRODUCTS:
            executed.append((operator, _takes_integers(node)))
    return _count(executed)


def _takes_integers(node: Any) -> bool:
    return node.get_input_size() > 0 and node.input(0).get_element_type().get_type_name() in _INTEGERS


def _products_within(names: str, takes_integers: bool) -> Iterator[tuple[str, bool]]:
    """Yield the products among the layers that a fused node stands for, such as "/a/MatMul,/a/Softmax".

    The first takes the node's input; a later one takes integers if what comes before it is quantised.
    """
    integers = takes_integers
    for name in names.split(","):
        kind = name.rpartition("/")[2].partition("_")[0]
        if kind in _OPENVINO_PRODUCTS:
            yield kind, integers
            integers = False
        elif kind in _QUANTISES:
            integers = True


def _text(about: Any, key: str) -> str:
    value = about[key]
    return str(value.value if hasattr(value, "value") else value)


def _count(executed: Any) -> MatrixProducts:
    integer: Counter[str] = Counter()
    floating: Counter[str] = Counter()
    for operator, is_integer in executed:
        (integer if is_integer else floating)[operator] += 1
    return MatrixProducts(dict(sorted(integer.items())), dict(sorted(floating.items())))
