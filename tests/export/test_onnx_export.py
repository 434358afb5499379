import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

import adaloraqat
from adaloraqat.bundle.runtimes import onnxruntime_session, openvino_model
from adaloraqat.export.onnx_export import export_decoder, export_encoder
from adaloraqat.models.sam import SamArchitecture, build_sam, decode, encode
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.integer import convert
from adaloraqat.quantize.policy import POLICIES
from adaloraqat.quantize.preparation import prepare
from adaloraqat.radiograph import Preprocessing


def _run(path, engine, feeds, names):
    if engine == "onnxruntime":
        return onnxruntime_session(path, 1).run(names, feeds)
    results = openvino_model(path, 1)(feeds)
    return [np.array(results[name]) for name in names]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("policy", ["fp32", "int8"])
def test_both_files_answer_as_the_model_does_for_one_box_and_for_five(exported, batch, engine, policy):
    model, bundle = exported(policy)
    image, boxes = batch[0][:1], batch[1].reshape(1, 4, 4)
    with torch.no_grad():
        embedding = encode(model, image)
    [found] = _run(bundle.encoder, engine, {"image": image.numpy()}, ["embedding"])
    # a rounding tie may fall the other way in an engine: one step of some activation, never a wrong answer
    tolerance = 1e-5 if policy == "fp32" else 0.01
    np.testing.assert_allclose(found, embedding.numpy(), atol=tolerance * float(embedding.abs().max()))
    for count in (1, 5):
        asked = torch.cat([boxes, boxes], dim=1)[:, :count]
        with torch.no_grad():
            logits, quality = (answer[0] for answer in decode(model, embedding, asked))
        feeds = {"embedding": embedding.numpy(), "boxes": asked[0].numpy()}
        found = _run(bundle.decoder, engine, feeds, ["logits", "quality"])
        assert found[0].shape == (count, 32, 32)
        assert found[1].shape == (count,)
        np.testing.assert_allclose(found[0], logits.numpy(), atol=tolerance * float(logits.abs().max()))
        np.testing.assert_allclose(found[1], quality.numpy(), atol=0.01)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("policy", ["fp32", "int8"])
def test_eight_images_at_once_answer_as_one_by_one(exported, engine, policy):
    encoder = exported(policy)[1].encoder
    images = np.random.default_rng(3).standard_normal((8, 1, 64, 64)).astype(np.float32)
    [together] = _run(encoder, engine, {"image": images}, ["embedding"])
    alone = [_run(encoder, engine, {"image": image[None]}, ["embedding"])[0] for image in images]
    assert together.shape[0] == 8
    assert np.ptp(together, axis=0).max() > 0.1  # the films differ
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-6)


def test_a_graph_says_whose_it_is(exported):
    bundle = exported("int8")[1]
    for path in (bundle.encoder, bundle.decoder):
        labels = onnxruntime_session(path, 1).get_modelmeta().custom_metadata_map
        assert labels["name"] == bundle.name
        assert labels["licence"] == bundle.licence
        assert Preprocessing.from_dict(json.loads(labels["preprocessing"])) == bundle.preprocessing
        assert labels["adaloraqat_version"] == adaloraqat.__version__


def test_the_int8_file_holds_integers_and_sixteen_bits(exported):
    graph = onnx.load(exported("int8")[1].encoder).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert kinds["vision_encoder.layers.0.mlp.lin1.weight"] == TensorProto.INT8
    assert kinds["vision_encoder.layers.0.mlp.lin1.bias"] == TensorProto.INT32
    assert kinds["vision_encoder.pos_embed"] == TensorProto.FLOAT16
    assert kinds["vision_encoder.neck.conv2.weight"] == TensorProto.INT8
    decoder = {
        tensor.name: tensor.data_type for tensor in onnx.load(exported("int8")[1].decoder).graph.initializer
    }
    assert decoder["mask_decoder.upscale_conv1.weight"] == TensorProto.FLOAT16
    large = [tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT]
    assert max(int(np.prod(tensor.dims)) for tensor in large) <= 128  # scales, norms and biases only
    assert not [node for node in graph.node if node.op_type == "Pad"]


@pytest.mark.parametrize("policy", ["fp32", "paper", "int8"])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_relative_positions_and_padded_windows(tmp_path, engine, policy):
    torch.manual_seed(0)
    config = SamArchitecture(
        image_size=40, patch_size=8, hidden_size=16, num_layers=2, num_heads=2, window_size=3,
        global_attention_layers=(1,), prompt_dim=16, decoder_mlp_dim=16, decoder_heads=2,
        mask_input_channels=4, iou_head_hidden_dim=8,
    )  # fmt: skip
    model = build_sam(config).eval()
    for layer in model.vision_encoder.layers:
        torch.nn.init.normal_(layer.attn.rel_pos_h)
        torch.nn.init.normal_(layer.attn.rel_pos_w)
    image = torch.randn(1, 3, 40, 40)
    prepare(model, POLICIES[policy])
    if POLICIES[policy].quantizes:
        calibrate(model, [(image, torch.tensor([[[4.0, 4.0, 36.0, 36.0]]]))])
        model = convert(model)
    export_encoder(model, tmp_path / "encoder.onnx")
    with torch.no_grad():
        expected = encode(model, image).numpy()
    [found] = _run(tmp_path / "encoder.onnx", engine, {"image": image.numpy()}, ["embedding"])
    np.testing.assert_allclose(found, expected, atol=1e-5 if policy == "fp32" else 0.1)
    operators = {node.op_type for node in onnx.load(tmp_path / "encoder.onnx").graph.node}
    assert "Gather" in operators
    assert "Resize" not in operators


def test_the_exported_model_is_not_changed(sam, batch, tmp_path):
    with torch.no_grad():
        before = encode(sam, batch[0])
    export_encoder(sam, tmp_path / "encoder.onnx")
    export_decoder(sam, tmp_path / "decoder.onnx")
    with torch.no_grad():
        assert torch.equal(encode(sam, batch[0]), before)
