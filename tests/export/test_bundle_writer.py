import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from adaloraqat.bundle import Bundle, Segmenter, load_bundle
from adaloraqat.bundle.engine import load_engine
from adaloraqat.bundle.operators import matrix_products
from adaloraqat.errors import BundleError, OutputError
from adaloraqat.export.layer_parity import layer_parity
from adaloraqat.export.mask_parity import mask_parity
from adaloraqat.lowrank import add_adapters
from adaloraqat.models.sam import TINY
from adaloraqat.quantize.calibration import in_precision
from adaloraqat.quantize.policy import POLICIES
from adaloraqat.quantize.preparation import fake_quantized_layers
from adaloraqat.radiograph import Box, Film


def _films(count):
    generator = np.random.default_rng(3)
    return [Film.from_array(generator.random((80, 60), dtype=np.float32)) for _ in range(count)]


def test_a_written_bundle_is_complete_and_segments(exported):
    bundle = exported("int8")[1]
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["tiny"]
    assert sorted(path.name for path in bundle.folder.iterdir()) == [
        "bundle.json",
        "decoder.onnx",
        "encoder.onnx",
    ]
    assert bundle.precision.policy == "int8"
    assert bundle.precision.weight_range == "portable"
    assert bundle.precision.modules["vision_encoder.layers.0.attn.qkv"] == "int8 per channel"
    assert bundle.architecture == TINY.to_dict()
    assert bundle.parity == {"measured": False}
    mask = Segmenter.load(bundle.folder).segment(_films(1)[0]).mask
    assert mask.shape == (80, 60)


@pytest.mark.parametrize(
    ("engine", "policy", "encoder", "decoder"),
    [
        ("onnxruntime", "paper", 6, 40),
        ("onnxruntime", "int8", 11, 38),
        pytest.param("openvino", "paper", 6, 40, marks=pytest.mark.slow),
        ("openvino", "int8", 11, 38),
    ],
)
def test_every_quantised_layer_is_executed_in_integers_within_one_step(
    exported, batch, policy, encoder, decoder, engine
):
    # decoder: of the 49 layers the 9 of the three mask heads that a box never asks for are not in the file
    model, bundle = exported(policy)
    counts = matrix_products(bundle, engine)
    assert sum(counts["encoder"].integer.values()) == encoder
    assert sum(counts["decoder"].integer.values()) == decoder
    files = [bundle.encoder, bundle.decoder]
    found = layer_parity(model, files, batch[0][:1], batch[1][:1, :1], engine, threads=1)
    assert len(found.errors) == encoder + decoder
    assert set(found.errors) <= set(fake_quantized_layers(model))
    assert found.to_dict()["worst_lsb"] <= 1


def test_masks_agree_and_the_noise_floor_stands_beside(exported):
    model, bundle = exported("int8")
    parity = mask_parity(model, bundle.folder, _films(2), [Box(5, 5, 50, 70), None], threads=1)
    assert parity["films"] == 2
    for name in ("noise_floor", "onnxruntime", "openvino"):
        assert parity[name]["equal_pixels"] > 0.95
        assert parity[name]["worst"]["dice"] <= parity[name]["dice"] <= 1


def test_what_the_parity_check_says_stands_in_the_bundle(sam, write_as, tmp_path):
    bundle = write_as(
        sam, "fp32", tmp_path / "tiny", parity=lambda folder: {"where": load_bundle(folder).name}
    )
    assert bundle.parity == {"measured": True, "where": "tiny"}
    assert json.loads((bundle.folder / "bundle.json").read_text())["parity"] == bundle.parity


def test_adapters_are_folded_and_their_ranks_told(sam, batch, write_as, tmp_path):
    add_adapters(sam, 3, 0)
    model, after_training = in_precision(sam, POLICIES["int8"], None, [batch])
    bundle = write_as(model, "int8", tmp_path / "adapted")
    assert after_training
    assert bundle.ranks["vision_encoder.layers.0.attn.qkv.q"] == 3
    assert load_bundle(bundle.folder).parameters["total"] > 0


def test_another_precision_than_trained_is_post_training_quantisation(exported, batch):
    model, _ = exported("int8")
    same, after_training = in_precision(model, POLICIES["int8"], POLICIES["int8"], [batch])
    assert same is model
    assert not after_training
    other, after_training = in_precision(model, POLICIES["paper"], POLICIES["int8"], [batch])
    assert after_training
    assert other is not model
    full = dataclasses.replace(POLICIES["int8"], weight_range="full")
    assert in_precision(model, full, POLICIES["int8"], [batch])[1]
    plain, after_training = in_precision(model, POLICIES["fp32"], POLICIES["int8"])
    assert not after_training
    assert not fake_quantized_layers(plain)


def test_a_bundle_is_replaced_and_anything_else_refused(exported, sam, write_as, tmp_path):
    shutil.copytree(exported("int8")[1].folder, tmp_path / "tiny")
    write_as(sam, "fp32", tmp_path / "tiny", metrics={"dice": 0.9})
    assert load_bundle(tmp_path / "tiny").metrics == {"dice": 0.9}
    (tmp_path / "linked").symlink_to(tmp_path / "tiny")
    write_as(sam, "fp32", tmp_path / "linked", metrics={"dice": 0.8})
    assert (tmp_path / "linked").is_symlink()
    assert load_bundle(tmp_path / "tiny").metrics == {"dice": 0.8}


@pytest.mark.parametrize(
    "beside",
    [None, "{}", '{"format_version": 1, "files": {"src/chapter1.txt": {}, "encoder.onnx": {}}}', "a bundle"],
)
def test_no_file_that_is_not_the_bundle_s_own_is_lost(exported, sam, write_as, tmp_path, beside):
    foreign = tmp_path / "thesis"
    if beside == "a bundle":
        shutil.copytree(exported("int8")[1].folder, foreign)
    else:
        foreign.mkdir()
        if beside is not None:
            (foreign / "bundle.json").write_text(beside)
    (foreign / "src").mkdir()
    (foreign / "src/chapter1.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"chapter1\.txt.*not overwritten"):
        write_as(sam, "fp32", foreign)
    assert (foreign / "src/chapter1.txt").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


def test_the_current_folder_is_not_replaced(sam, write_as, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="the current folder"):
        write_as(sam, "fp32", ".")
    assert list(tmp_path.iterdir()) == []


def test_parameters_are_those_that_the_files_hold(sam, batch, write_as, tmp_path):
    for parameter in sam.parameters():  # equal tensors would be stored once
        parameter.data += 0.01 * torch.randn_like(parameter)
    model, _ = in_precision(sam, POLICIES["int8"], None, [batch])
    bundle = write_as(model, "int8", tmp_path / "told")
    counts = bundle.parameters
    left_out = [*model.prompt_encoder.mask_embed.parameters()]
    for mlp in model.mask_decoder.output_hypernetworks_mlps[1:]:
        left_out += mlp.parameters()
    few = sum(parameter.numel() for parameter in left_out)
    few += model.prompt_encoder.not_a_point_embed.weight.numel() * 3  # it, and two kinds of points
    few += model.shared_image_embedding.positional_embedding.numel()  # a constant of the graph
    assert counts["not_exported"] == few
    assert sum(counts["per_precision"].values()) == counts["total"] - few
    named = bundle.precision.modules.items()
    integer = [model.get_submodule(name) for name, kind in named if kind.startswith("int8")]
    assert counts["per_precision"]["int8"] == sum(layer.weight.numel() for layer in integer)
    biases = [layer.bias for layer in integer if layer.bias is not None]
    assert counts["per_precision"]["int32"] == sum(bias.numel() for bias in biases)
    assert not [name for name in bundle.precision.modules if ".mask_embed." in name or ".1.proj_in" in name]


@pytest.mark.parametrize("policy", ["int8", "fp32"])
def test_both_engines_execute_as_many_products(exported, policy):
    """OpenVINO fuses an attention into one node, whose two products count all the same."""
    bundle = exported(policy)[1]
    one, other = (matrix_products(bundle, engine) for engine in ("onnxruntime", "openvino"))
    for part in ("encoder", "decoder"):
        for kind in ("integer", "floating"):
            assert sum(getattr(one[part], kind).values()) == sum(getattr(other[part], kind).values())


def test_a_failed_export_leaves_nothing_behind_and_the_old_bundle_whole(exported, sam, write_as, tmp_path):
    old = exported("int8")[1]
    shutil.copytree(old.folder, tmp_path / "tiny")

    def fail(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_as(sam, "fp32", tmp_path / "tiny", parity=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert load_bundle(tmp_path / "tiny").files == old.files


@pytest.fixture(scope="module")
def written_with_ir(exported, write_as, tmp_path_factory) -> Path:
    """A bundle with OpenVINO IR; written once, not to be changed."""
    return write_as(exported("int8")[0], "int8", tmp_path_factory.mktemp("ir") / "ir", openvino=True).folder


@pytest.fixture
def with_ir(written_with_ir: Path, tmp_path: Path) -> Bundle:
    """A copy of it."""
    return load_bundle(shutil.copytree(written_with_ir, tmp_path / "ir"))


def test_openvino_ir_is_vouched_for_and_is_what_openvino_runs(exported, with_ir, monkeypatch):
    monkeypatch.setenv("ADALORAQAT_CACHE", "off")
    _, onnx = exported("int8")
    written = {str(path.relative_to(with_ir.folder)) for path in with_ir.folder.rglob("openvino/*")}
    assert written == {
        f"openvino/{part}.{kind}" for part in ("encoder", "decoder") for kind in ("xml", "bin")
    }
    assert written < set(with_ir.files)
    assert matrix_products(with_ir, "openvino") == matrix_products(onnx, "openvino")
    for path in (with_ir.encoder, with_ir.decoder):  # OpenVINO no longer needs them
        path.write_bytes(b"")
    film = _films(1)[0]
    answers = [
        Segmenter(bundle, load_engine(bundle, "openvino", 1)).segment(film, (5, 5, 50, 70))
        for bundle in (onnx, with_ir)
    ]
    np.testing.assert_array_equal(answers[0].probability, answers[1].probability)


def test_changed_ir_weights_are_refused(with_ir):
    weights = with_ir.folder / "openvino/encoder.bin"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BundleError, match=r"openvino/encoder\.bin"):
        load_bundle(with_ir.folder)
