from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from adaloraqat.bundle.operators import matrix_products
from adaloraqat.bundle.timing import interleaved, median_ratio
from adaloraqat.errors import BundleError


@pytest.mark.parametrize(
    ("engine", "operator"), [("onnxruntime", "QLinearMatMul"), ("openvino", "FullyConnected")]
)
def test_a_quantised_product_is_executed_in_integers(tmp_path: Path, engine: str, operator: str) -> None:
    counts = matrix_products(write_tiny_bundle(tmp_path / "int8", weights=1), engine)
    assert counts["encoder"].integer == {operator: 1}
    assert counts["encoder"].floating == {}
    assert counts["decoder"].to_dict()["integer"] == 0


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_float_product_in_disguise_is_counted_as_float(tmp_path: Path, engine: str) -> None:
    """int8 weights in the file, but a float activation: nothing says that integers may be multiplied."""
    import onnx

    bundle = write_tiny_bundle(tmp_path / "disguise", weights=1)
    model = onnx.load(bundle.encoder)
    product = next(node for node in model.graph.node if node.op_type == "MatMul")
    product.input[0] = "pooled"
    product.output[0] = "embedding"
    kept = [node for node in model.graph.node if not node.output[0].startswith(("pooled_", "product_"))]
    kept = [node for node in kept if node is product or "embedding" not in node.output]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    onnx.save(model, bundle.encoder)
    counts = matrix_products(bundle, engine)["encoder"]
    assert sum(counts.integer.values()) == 0
    assert sum(counts.floating.values()) == 1


def test_unknown_engine(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no engine"):
        matrix_products(write_tiny_bundle(tmp_path / "tiny"), "tvm")


def test_runs_take_turns() -> None:
    order: list[str] = []
    times = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=3, warmup=1)
    assert "".join(order) == "abababab"
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}
    assert median_ratio({"a": [1, 2, 4], "b": [2, 6, 8]}, "a", "b") == 2
    assert np.isfinite(median_ratio(times, "a", "a"))
