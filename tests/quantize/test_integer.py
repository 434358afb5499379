import copy

import numpy as np
import pytest
import torch

from adaloraqat.bundle.runtimes import onnxruntime_session, openvino_model
from adaloraqat.export.onnx_export import export_encoder, write_onnx
from adaloraqat.lowrank import AdaptedQKV, add_adapters, merge_adapters
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.integer import IntegerProduct, IntegerTable, convert
from adaloraqat.quantize.policy import POLICIES
from adaloraqat.quantize.preparation import prepare


def _answers(model, batch):
    images, boxes = batch
    with torch.no_grad():
        embedding = encode(model, images)
        return embedding, *decode(model, embedding, boxes)


@pytest.mark.parametrize("policy", ["fp32", "paper", "int8", "w8", "w8a8"])
def test_the_integer_model_computes_what_the_fake_quantised_one_does(sam, batch, policy):
    prepared = calibrate(prepare(sam, POLICIES[policy]), [batch])
    converted = convert(prepared)
    for expected, found in zip(_answers(prepared, batch), _answers(converted, batch), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("policy", "integers", "tables"), [("fp32", 0, 0), ("paper", 58, 6), ("int8", 56, 0)]
)
def test_weights_are_held_as_integers(sam, batch, policy, integers, tables):
    # Encoder: 2 blocks of proj, lin1, lin2; qkv and the patch embedding in int8 only (its neck is a
    # convolution, no product over patches). Decoder: 7 attentions of 4, 2 MLPs of 2,
    # 4 mask heads of 3, a quality head of 3 and 2 upscalings are 49
    # (the upscalings in paper only). Mask branch: 3, in paper only.
    converted = convert(calibrate(prepare(sam, POLICIES[policy]), [batch]))
    products = [module for module in converted.modules() if isinstance(module, IntegerProduct)]
    assert len(products) == integers
    assert all(product.weight.dtype == torch.int8 for product in products)
    assert all(product.bias.dtype == torch.int32 for product in products)
    assert all(int(product.weight.abs().max()) == 63 for product in products)
    assert sum(isinstance(module, IntegerTable) for module in converted.modules()) == tables


def test_sixteen_bit_weights_are_held_in_sixteen_bits(sam, batch):
    converted = convert(calibrate(prepare(sam, POLICIES["int8"]), [batch]))
    kinds = {name: parameter.dtype for name, parameter in converted.named_parameters()}
    halved = {name for name, kind in kinds.items() if kind == torch.float16}
    assert {"vision_encoder.pos_embed", "mask_decoder.upscale_conv1.weight"} <= halved
    assert converted.vision_encoder.pos_embed.dtype == torch.float32
    assert kinds["shared_image_embedding.positional_embedding"] == torch.float32


def test_the_prepared_model_survives_conversion(sam, batch):
    prepared = calibrate(prepare(sam, POLICIES["int8"]), [batch])
    before = _answers(prepared, batch)
    names = set(prepared.state_dict())
    convert(prepared)
    for expected, found in zip(before, _answers(prepared, batch), strict=True):
        assert torch.equal(expected, found)
    assert set(prepared.state_dict()) == names


@pytest.mark.parametrize("policy", ["fp32", "paper", "int8", "w8", "w8a8"])
def test_adapters_are_part_of_the_converted_weight(sam, batch, policy):
    add_adapters(sam, 4, 0)
    for module in sam.modules():
        if isinstance(module, AdaptedQKV):
            for adapter in module.adapters.values():
                torch.nn.init.normal_(adapter.singular_values)
    merged = copy.deepcopy(sam)
    merge_adapters(merged)
    adapted_first = convert(calibrate(prepare(sam, POLICIES[policy]), [batch]))
    merged_first = convert(calibrate(prepare(merged, POLICIES[policy]), [batch]))
    assert not any(isinstance(module, AdaptedQKV) for module in adapted_first.modules())
    for expected, found in zip(_answers(merged_first, batch), _answers(adapted_first, batch), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_without_calibration_there_is_nothing_to_convert(sam):
    with pytest.raises(RuntimeError, match="calibrate"):
        convert(prepare(sam, POLICIES["int8"]))


def test_a_graph_takes_another_number_of_tokens_where_it_may_vary(sam, batch, tmp_path):
    converted = convert(calibrate(prepare(sam, POLICIES["int8"]), [batch]))
    product = converted.mask_decoder.transformer.layers[0].mlp.lin1
    assert isinstance(product, IntegerProduct)
    product.varying = True
    tokens = torch.randn(3, 2, 7, product.weight.shape[0])  # (boxes, sets, tokens, features)
    axes = {"in": {0: "boxes", 2: "tokens"}}
    write_onnx(product, (tokens[:2, :, :5],), tmp_path / "product.onnx", ["in"], ["out"], axes)
    session = onnxruntime_session(tmp_path / "product.onnx", 1)
    (found,) = session.run(None, {"in": tokens.numpy()})
    np.testing.assert_allclose(found, product(tokens).detach(), rtol=0, atol=1e-5)


def test_w8_stores_every_matrix_as_integers_of_eight_bits_one_scale_a_channel(sam):
    """Checked against the rounding written out: a linear layer, a convolution, a transposed convolution."""
    plain = copy.deepcopy(sam)
    converted = convert(prepare(sam, POLICIES["w8"]))
    for name, axis in (
        ("vision_encoder.layers.0.mlp.lin1", 0),
        ("vision_encoder.neck.conv2", 0),
        ("mask_decoder.upscale_conv1", 1),
    ):
        weight, layer = plain.get_submodule(name).weight.detach(), converted.get_submodule(name)
        others = [place for place in range(weight.dim()) if place != axis]
        scale = weight.abs().amax(dim=others, keepdim=True) / 127
        stored = layer._buffers["weight"]
        assert stored.dtype == torch.int8
        assert torch.equal(stored.float(), torch.round(weight * (1 / scale)))
        torch.testing.assert_close(layer.weight, stored * scale, rtol=1e-6, atol=0)
    kinds = {name: tensor.dtype for name, tensor in converted.state_dict().items() if tensor.dim() > 1}
    floats = {name for name, kind in kinds.items() if kind == torch.float32}
    assert not any(name.endswith("weight") and "token" not in name for name in floats), floats


def test_w8_answers_in_both_engines_as_in_torch(sam, batch, tmp_path):
    converted, images = convert(prepare(sam, POLICIES["w8"])), batch[0]
    export_encoder(converted, tmp_path / "encoder.onnx")
    expected = encode(converted, images).numpy()
    for stored in (True, False):
        session = onnxruntime_session(tmp_path / "encoder.onnx", 1, integers_are_stored=stored)
        (found,) = session.run(None, {"image": images.numpy()})
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    found = openvino_model(tmp_path / "encoder.onnx", 1)({"image": images.numpy()})["embedding"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
