"""A real bundle so small that its answers can be worked out by hand.

Encoder: the image averaged over 4x4 blocks (D = 1, g = S / 4). Decoder: nearest-neighbour enlarged by 4, then
`logits = gain * (threshold - embedding)` inside the box (by cell centres), -10 outside it; `quality` as
given. So dark pixels inside the box are "lung".
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from adaloraqat.bundle.format import Bundle, write_bundle

SIZE = 64
GRID = SIZE // 4


def write_tiny_bundle(
    folder: Path, *, threshold: float = 0.0, quality: float = 0.9, weights: int = 0, **changes: Any
) -> Bundle:
    """Write the bundle; `changes` replace fields of its bundle.json, `weights` > 0 adds an integer MatMul."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_encoder(weights), folder / "encoder.onnx")
    onnx.save(_decoder(threshold, quality), folder / "decoder.onnx")
    return write_bundle(folder, fields(**changes), ["encoder.onnx", "decoder.onnx"])


def fields(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": "tiny",
        "architecture": {"family": "handmade"},
        "preprocessing": {
            "image_size": SIZE,
            "channels": 1,
            "percentile_low": 0.0,
            "percentile_high": 100.0,
            "mean": [0.5],
            "std": [0.5],
        },
        "precision": {"policy": "fp32", "weight_range": "portable", "modules": {}},
        "prompt": {"second_pass": False, "quality_trained": True},
        "outlines": "dark pixels",
        "training": {},
        "parameters": {"total": 0},
        "ranks": {},
        "metrics": {},
        "parity": {},
        "licence": "CC0",
        "intended_use": "tests",
    }
    return values | changes


def _encoder(weights: int) -> onnx.ModelProto:
    nodes = [helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4])]
    tensors = []
    if weights:
        nodes += _quantised_identity()
        tensors = [
            numpy_helper.from_array(np.float32(2 / 255), "a_scale"),
            numpy_helper.from_array(np.uint8(128), "a_zero"),
            numpy_helper.from_array(np.float32(1 / 63), "w_scale"),
            numpy_helper.from_array(np.int8(0), "w_zero"),
            numpy_helper.from_array((63 * np.eye(GRID)).astype(np.int8), "w"),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["pooled"], ["embedding"]))
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 1, GRID, GRID])],
        tensors,
    )
    return _model(graph)


def _quantised_identity() -> list[onnx.NodeProto]:
    """pooled @ I with both factors, and the product, quantised: an engine may run it in integers."""
    node = helper.make_node
    return [
        node("QuantizeLinear", ["pooled", "a_scale", "a_zero"], ["pooled_q"]),
        node("DequantizeLinear", ["pooled_q", "a_scale", "a_zero"], ["pooled_d"]),
        node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_d"]),
        node("MatMul", ["pooled_d", "w_d"], ["product"]),
        node("QuantizeLinear", ["product", "a_scale", "a_zero"], ["product_q"]),
        node("DequantizeLinear", ["product_q", "a_scale", "a_zero"], ["embedding"]),
    ]


def _decoder(threshold: float, quality: float) -> onnx.ModelProto:
    node = helper.make_node
    centres = (np.arange(4 * GRID) + 0.5).astype(np.float32) * SIZE / (4 * GRID)
    nodes = [
        node("Resize", ["embedding", "", "scales"], ["large"], mode="nearest"),  # (1, 1, n, n)
        node("Squeeze", ["large", "axis1"], ["darkness"]),  # (1, n, n)
        node("Sub", ["threshold", "darkness"], ["below"]),
        node("Mul", ["below", "gain"], ["scores"]),
        node("Split", ["boxes"], ["x0", "y0", "x1", "y1"], axis=1, num_outputs=4),  # (N, 1) each
    ]
    for edge in ("x0", "y0", "x1", "y1"):
        nodes.append(node("Unsqueeze", [edge, "axis1"], [edge + "u"]))  # (N, 1, 1)
    nodes += [
        node("Greater", ["columns", "x0u"], ["a"]),
        node("Less", ["columns", "x1u"], ["b"]),
        node("Greater", ["rows", "y0u"], ["c"]),
        node("Less", ["rows", "y1u"], ["d"]),
        node("And", ["a", "b"], ["ab"]),
        node("And", ["c", "d"], ["cd"]),
        node("And", ["ab", "cd"], ["inside"]),  # (N, n, n)
        node("Where", ["inside", "scores", "outside"], ["logits"]),
        node("Squeeze", ["x0", "axis1"], ["first"]),  # (N,)
        node("Mul", ["first", "zero"], ["nothing"]),
        node("Add", ["nothing", "quality_value"], ["quality"]),
    ]
    constants = {
        "scales": np.array([1, 1, 4, 4], np.float32),
        "axis1": np.array([1], np.int64),
        "threshold": np.float32(threshold),
        "gain": np.float32(8),
        "columns": centres[None, None, :],
        "rows": centres[None, :, None],
        "outside": np.float32(-10),
        "zero": np.float32(0),
        "quality_value": np.float32(quality),
    }
    graph = helper.make_graph(
        nodes,
        "decoder",
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 1, GRID, GRID]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", 4]),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4 * GRID, 4 * GRID]),
            helper.make_tensor_value_info("quality", TensorProto.FLOAT, ["N"]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return _model(graph)


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def two_lungs(height: int = 128, width: int = 128) -> np.ndarray:
    """(H, W) uint8: a bright film with two dark ellipses, the left one a little larger."""
    y, x = np.mgrid[:height, :width]
    film = np.full((height, width), 200, np.uint8)
    for centre, radius in ((0.28, 0.16), (0.72, 0.14)):
        film[((x / width - centre) / radius) ** 2 + ((y / height - 0.5) / 0.33) ** 2 < 1] = 40
    return film
