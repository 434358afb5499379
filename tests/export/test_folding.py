"""Small constants are folded when a graph is written: the same answers from fewer nodes."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from adaloraqat.bundle import load_bundle
from adaloraqat.export.folding import MOST_BYTES, fold_small_constants


def constant(name, value):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value), name))


def model_of(nodes, initializers, inputs=("x",), outputs=("y",)):
    def described(names):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]

    tensors = [numpy_helper.from_array(value, name) for name, value in initializers.items()]
    graph = helper.make_graph(nodes, "graph", described(inputs), described(outputs), tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model, **inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def test_what_follows_from_small_constants_is_computed_once():
    shape = [constant("three", np.array([3])), constant("two", np.array([2]))]
    nodes = [
        *shape,
        helper.make_node("Concat", ["two", "three"], ["sizes"], axis=0),
        helper.make_node("Identity", ["sizes"], ["again"]),
        helper.make_node("Reshape", ["x", "again"], ["shaped"]),
        helper.make_node("Mul", ["half", "half"], ["quarter"]),
        helper.make_node("Mul", ["shaped", "quarter"], ["y"]),
    ]
    model = model_of(nodes, {"half": np.array(0.5, np.float32)})
    fold_small_constants(model)
    assert [node.op_type for node in model.graph.node] == ["Reshape", "Mul"]
    found = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer}
    assert found == {"sizes": [2, 3], "quarter": 0.25}
    (answer,) = run(model, x=np.arange(6, dtype=np.float32))
    assert answer.tolist() == [[0, 0.25, 0.5], [0.75, 1, 1.25]]


def test_stored_weights_stay_stored():
    weight = np.arange(MOST_BYTES, dtype=np.int8).reshape(64, -1)
    half = np.ones((64, MOST_BYTES // 64), np.float16)
    nodes = [
        helper.make_node("DequantizeLinear", ["weight", "scale"], ["float"]),
        helper.make_node("Cast", ["half"], ["full"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["float", "full"], ["sum"]),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    model = model_of(nodes, {"weight": weight, "scale": np.array(0.1, np.float32), "half": half})
    before = model.SerializeToString()
    fold_small_constants(model)
    assert model.SerializeToString() == before


def test_small_integers_of_a_product_stay_where_engines_look_for_them():
    stored = {"weight": np.arange(4, dtype=np.int8).reshape(2, 2), "scale": np.array(0.5, np.float32)}
    nodes = [
        helper.make_node("DequantizeLinear", ["weight", "scale"], ["float"]),
        helper.make_node("MatMul", ["x", "float"], ["y"]),
    ]
    model = model_of(nodes, stored)
    fold_small_constants(model)
    assert [node.op_type for node in model.graph.node] == ["DequantizeLinear", "MatMul"]


def test_operators_of_another_domain_are_left():
    nodes = [
        constant("one", np.array(1, np.float32)),
        helper.make_node("Secret", ["one"], ["two"], domain="elsewhere"),
        helper.make_node("Add", ["x", "two"], ["y"]),
    ]
    model = model_of(nodes, {})
    fold_small_constants(model)
    assert [node.op_type for node in model.graph.node] == ["Secret", "Add"]


def test_inputs_and_outputs_keep_their_names():
    """Also an input that has a value in the file: another may be given."""
    nodes = [
        helper.make_node("Identity", ["x"], ["y"]),
        helper.make_node("Mul", ["scale", "scale"], ["square"]),
        helper.make_node("Identity", ["square"], ["z"]),
        constant("one", np.array(1, np.float32)),
        helper.make_node("Identity", ["one"], ["w"]),
    ]
    initializers = {"scale": np.array(2, np.float32)}
    model = model_of(nodes, initializers, inputs=("x", "scale"), outputs=("y", "z", "w"))
    fold_small_constants(model)
    x = np.ones(3, np.float32)
    assert [float(np.max(value)) for value in run(model, x=x)] == [1, 4, 1]
    assert [float(np.max(value)) for value in run(model, x=x, scale=np.array(3, np.float32))] == [1, 9, 1]


def test_a_branch_uses_what_lies_outside_it():
    inner = helper.make_graph(
        [helper.make_node("Add", ["x", "two"], ["out"])],
        "inner",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    nodes = [
        constant("two", np.array(2, np.float32)),
        constant("true", np.array(True)),
        helper.make_node("If", ["true"], ["y"], then_branch=inner, else_branch=inner),
    ]
    model = model_of(nodes, {})
    fold_small_constants(model)
    assert run(model, x=np.ones(1, np.float32))[0].tolist() == [3]


@pytest.mark.parametrize("graph", ["encoder.onnx", "decoder.onnx"])
def test_a_shipped_graph_has_nothing_left_to_fold(graph):
    model = onnx.load(load_bundle("lung-open").folder / graph)
    before = len(model.graph.node)
    fold_small_constants(model)
    assert len(model.graph.node) == before
