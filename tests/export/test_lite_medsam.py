from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.engine import load_engine
from adaloraqat.bundle.operators import matrix_products
from adaloraqat.export.bundle_writer import export_bundle
from adaloraqat.export.layer_parity import layer_parity
from adaloraqat.export.mask_parity import mask_parity
from adaloraqat.models.families import build
from adaloraqat.models.lite_medsam_architecture import LITE_MEDSAM_TINY, LiteMedSAMArchitecture
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.integer import convert
from adaloraqat.quantize.policy import POLICIES
from adaloraqat.quantize.preparation import prepare
from adaloraqat.radiograph import Film
from adaloraqat.training.structure import usual_preprocessing

ENGINES = ["onnxruntime", "openvino"]


FINE = "lite_medsam_tiny, fine grid"


def shaped(name: str) -> LiteMedSAMArchitecture:
    if name == FINE:
        return replace(LITE_MEDSAM_TINY, fine_grid=True)
    return architecture(name)


def trained_like(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = build(shaped(name).to_dict()).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2.0)
            module.running_mean.normal_(std=0.1)
            nn.init.normal_(module.weight, 1.0, 0.1)
    return model


def film_and_box(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    config = shaped(name)
    side = config.image_size
    image = torch.rand(1, config.channels, side, side, generator=torch.Generator().manual_seed(1))
    return image, torch.tensor([[[0.1, 0.2, 0.8, 0.9]]]) * side


def written(name: str, policy: str, folder):
    model = prepare(trained_like(name), POLICIES[policy])
    if POLICIES[policy].quantizes:
        calibrate(model, [film_and_box(name)])
    preprocessing = usual_preprocessing(shaped(name).to_dict())
    table = POLICIES[policy]
    return model, export_bundle(
        model, folder, policy=table, preprocessing=preprocessing, name=name, outlines="lungs"
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    made = {}

    def make(policy: str):
        if policy not in made:
            folder = tmp_path_factory.mktemp(policy) / "lite"
            made[policy] = written("lite_medsam_tiny", policy, folder)
        return made[policy]

    return make


def installed(engine: str) -> str:
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    return engine


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("policy", ["fp32", "int8"])
def test_the_files_answer_as_the_model_does(exported, engine, policy):
    model, bundle = exported(policy)
    image, box = film_and_box("lite_medsam_tiny")
    run = load_engine(bundle, installed(engine), threads=1)
    with torch.no_grad():
        expected = encode(convert(model), image)
        logits, quality = decode(convert(model), expected, box)
    embedding = run.encode(image[0].numpy())
    # one rounding that falls the other way moves everything after it a little
    tolerance = 1e-4 if policy == "fp32" else 0.1
    np.testing.assert_allclose(embedding, expected, rtol=0, atol=tolerance)
    found, found_quality = run.decode(expected.numpy(), box[0].numpy())
    np.testing.assert_allclose(found, logits[0], rtol=0, atol=1e-4 if policy == "fp32" else 0.02)
    np.testing.assert_allclose(found_quality, quality[0], rtol=0, atol=1e-4 if policy == "fp32" else 0.02)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("policy", ["fp32", "int8", "w8"])
def test_the_files_of_a_fine_grid_answer_as_the_model_does(tmp_path, engine, policy):
    model, bundle = written(FINE, policy, tmp_path / "fine")
    image, box = film_and_box(FINE)
    loaded = load_engine(bundle, installed(engine))
    embedding = loaded.encode(image[0].numpy())
    assert embedding.shape == (1, 32, 16, 16)
    with torch.no_grad():
        expected = encode(model, image)
        logits, _ = decode(model, torch.from_numpy(embedding), box)
    far = np.abs(embedding - expected.numpy()).max() / np.abs(expected.numpy()).max()
    assert far < (0.05 if policy == "int8" else 1e-3)
    answer, _ = loaded.decode(embedding, box[0].numpy())
    assert answer.shape == (1, 64, 64)
    assert np.mean((answer > 0) == (logits[0].numpy() > 0)) > 0.99


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("policy", "layers"), [("int8", 60), ("qmedsam", 90)])
def test_every_quantised_layer_is_within_one_step_of_the_trained_one(exported, engine, policy, layers):
    model, bundle = exported(policy)
    files = [bundle.folder / "encoder.onnx", bundle.folder / "decoder.onnx"]
    image, box = film_and_box("lite_medsam_tiny")
    parity = layer_parity(model, files, image, box, installed(engine), threads=1)
    assert len(parity.errors) == layers
    assert parity.to_dict()["worst_lsb"] <= 1.001


@pytest.mark.parametrize("engine", ENGINES)
def test_every_convolution_and_linear_layer_of_qmedsam_runs_in_integers(exported, engine):
    _, bundle = exported("qmedsam")
    products = matrix_products(bundle, installed(engine))
    convolution = {"onnxruntime": "QLinearConv", "openvino": "Convolution"}[engine]
    linear = {"onnxruntime": "QGemm", "openvino": "FullyConnected"}[engine]
    assert products["encoder"].integer == {convolution: 20, linear: 16}
    assert set(products["encoder"].floating) <= {
        "MatMul",
        "FusedMatMul",
    }  # the encoder's attention, by policy
    assert products["decoder"].integer[linear] == 40
    others = {n: count for n, count in products["decoder"].integer.items() if n != linear}
    floating = sum(products["decoder"].floating.values())
    if engine == "onnxruntime":
        assert floating == 1  # mask weights times pixels
        assert sum(others.values()) == 14
        assert set(others) <= {"QLinearMatMul", "MatMulIntegerToFloat"}
    else:  # OpenVINO fuses each attention and takes q and k as floats of their integer grids
        assert (floating, others) == (1 + 7, {"MatMul": 7})


def test_masks_are_compared_and_a_film_is_segmented(exported):
    model, bundle = exported("qmedsam")
    pixels = np.random.default_rng(0).random((90, 70)).astype(np.float32)
    result = mask_parity(model, bundle.folder, [Film.from_array(pixels)], [None], threads=1)
    assert {"noise_floor", "onnxruntime"} <= set(result)
    segmentation = Segmenter.load(bundle.folder).segment(pixels)
    assert segmentation.mask.shape == (90, 70)
    assert np.isfinite(segmentation.probability).all()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "megabytes"), [("lite_medsam", 11), ("lite_medsam_stride4", 12)])
def test_the_artefact_is_small(tmp_path, name, megabytes):
    _, bundle = written(name, "qmedsam", tmp_path / name)
    total = sum(path.stat().st_size for path in bundle.folder.iterdir())
    assert total <= megabytes * 1_000_000
