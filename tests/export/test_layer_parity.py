"""A layer that is off by so many steps of its output is told by that number, by each engine."""

import copy

import pytest

from adaloraqat.export.layer_parity import layer_parity
from adaloraqat.quantize.preparation import fake_quantized_layers

FAR, NEAR = "vision_encoder.layers.0.mlp.lin1", "mask_decoder.transformer.layers.0.mlp.lin2"


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_unit_is_a_step_of_the_outputs_range(exported, batch, engine):
    """Two biases moved by 5 and 2 LSB after the file was written; each layer is given the same input."""
    written, bundle = exported("int8")
    model, moved = copy.deepcopy(written), {FAR: 5.0, NEAR: 2.0}
    for name, steps in moved.items():
        layer = fake_quantized_layers(model)[name]
        assert float(layer.input_quantizer.scale) != pytest.approx(layer.output_step(), rel=0.2)
        layer.bias.data += steps * layer.output_step()
    files = [bundle.encoder, bundle.decoder]
    found = layer_parity(model, files, batch[0][:1], batch[1][:1, :1], engine, threads=1)
    for name, steps in moved.items():
        assert found.errors[name] == pytest.approx(steps, abs=0.1), name
    assert found.worst_layer == FAR
    assert max(error for name, error in found.errors.items() if name not in moved) <= 1
