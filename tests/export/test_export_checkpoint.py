"""A published checkpoint as a bundle: its integers, its answers, and what the bundle says of it."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from adaloraqat.bundle import Bundle, load_bundle
from adaloraqat.bundle.operators import matrix_products
from adaloraqat.datasets.manifest import read_manifest, write_manifest
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.errors import RecipeError
from adaloraqat.export.checkpoint_sizes import papers_count, rounded_layers
from adaloraqat.export.export_checkpoint import Options, export_checkpoint, export_checkpoint_base
from adaloraqat.models.checkpoints import load_base
from adaloraqat.models.sam import VIT_B, build_sam, decode, encode

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))  # test folders are no packages
from adalora_qat_reference import Reference, Small, example

SMALL = Small(alpha=16.0, target_rank=8)
OPTIONS = Options(16.0, 8)
UNASKED = 9
"""Linear layers of the three mask heads that a box never asks for: they are in no file."""


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(SMALL, stage=2)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_phantoms(folder, 6, seed=4, size=64)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def exported(
    reference: Reference, films: Path, said: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """The stage-2 file as the policy `reference`, calibrated and compared on phantoms."""
    folder = tmp_path_factory.mktemp("exported")
    path = reference.save(folder)
    return export_checkpoint(path, folder / "bundle", OPTIONS, manifest=films, report=said.append)


def integers_in(bundle: Bundle) -> dict[str, np.ndarray]:
    """Every int8 matrix of the files, (out, in), by its layer's name."""
    found = {}
    for file in (bundle.encoder, bundle.decoder):
        for tensor in onnx.load(file).graph.initializer:
            if tensor.data_type == onnx.TensorProto.INT8 and tensor.name.endswith(".weight"):
                found[tensor.name.removesuffix(".weight")] = onnx.numpy_helper.to_array(tensor)
    return found


def test_the_integers_are_those_of_the_published_code(reference: Reference, exported: Bundle) -> None:
    theirs, ours = reference.integers(), integers_in(exported)
    assert set(ours) <= set(theirs)
    assert len(ours) == len(theirs) - UNASKED
    for name, matrix in ours.items():
        np.testing.assert_array_equal(matrix.T, theirs[name].numpy(), err_msg=name)
    assert max(abs(matrix.astype(int)).max() for matrix in ours.values()) == 127


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_every_rounded_layer_is_a_product_of_integers(exported: Bundle, engine: str) -> None:
    counts = matrix_products(exported, engine)
    assert sum(counts["encoder"].integer.values()) == 6
    assert sum(counts["decoder"].integer.values()) == 47 - UNASKED


def test_the_bundle_says_what_the_file_was(exported: Bundle) -> None:
    document = json.loads((exported.folder / "bundle.json").read_text())
    training = document["training"]
    assert (training["epoch"], training["val_dice"], training["stage1_dice"]) == (7, 0.951, 0.949)
    assert training["quantized_layers"] == 53
    assert training["stage"] == "stage2"
    assert training["scaling"] == {"alpha": 16.0, "target_rank": 8, "value": 2.0, "source": "given"}
    assert training["post_training_quantisation"] is False
    assert "ours" in training["activation_ranges"]
    assert "both lungs" in document["prompt"]["trained_boxes"]
    assert document["prompt"]["quality_trained"] is False
    assert "Not stated by its authors" in document["licence"]
    assert "conventions" in document["outlines"]
    assert document["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert (document["preprocessing"]["image_size"], document["preprocessing"]["channels"]) == (64, 3)
    assert document["precision"]["weight_range"] == "full"
    assert document["ranks"]["vision_encoder.layers.1.attn.qkv.v"] == 4
    assert document["metrics"]["own_forward_pass"]["equal_pixels"] > 0.95
    sizes = document["metrics"]["sizes"]
    assert sizes["bundle_bytes"] == sum(record["bytes"] for record in document["files"].values())
    assert sizes["paper"]["times_smaller"] == 2.24


def test_the_export_says_how_it_read_the_file_and_what_it_weighs(exported: Bundle, said: list[str]) -> None:
    for words in (
        "no integers and no scales",
        "16 / 8 = 2 (given)",
        "calibrated on films here",
        "boxes close around both lungs",
        "53 layers are INT8 in reference, 44 of them",
        "times smaller than the file",
        "the paper's 2.24 times counts",
    ):
        assert any(words in line for line in said), words


def test_its_own_forward_pass_in_an_engine(reference: Reference, tmp_path: Path) -> None:
    """`reference-weights`: the same integers, float activations, no films; logits as the published code's."""
    said: list[str] = []
    bundle = export_checkpoint(
        reference.save(tmp_path), tmp_path / "b", OPTIONS, precision="reference-weights", report=said.append
    )
    theirs, ours = reference.integers(), integers_in(bundle)
    assert len(ours) == len(theirs) - UNASKED
    for name, matrix in ours.items():
        np.testing.assert_array_equal(matrix, theirs[name].numpy(), err_msg=name)
    pixels, boxes = example(SMALL)
    encoder, decoder = (onnxruntime.InferenceSession(path) for path in (bundle.encoder, bundle.decoder))
    (embedding,) = encoder.run(None, {"image": pixels[:1].numpy()})
    logits, _ = decoder.run(None, {"embedding": embedding, "boxes": boxes[0].numpy()})
    np.testing.assert_allclose(logits, reference.logits(pixels, boxes)[0].numpy(), atol=2e-4)
    assert bundle.precision.weight_range == "none"
    assert bundle.prompt.second_pass  # no film chose, and a whole film is no box it was trained with
    assert bundle.training["post_training_quantisation"] is False
    assert any("not measured" in line for line in said)


def test_a_stage_1_file_in_integers_is_post_training_quantisation(films: Path, tmp_path: Path) -> None:
    path = Reference(SMALL).save(tmp_path)
    training = [entry for entry in read_manifest(films) if entry.split == "train"]
    films = tmp_path / "train.csv"
    write_manifest(films, training)
    said: list[str] = []
    bundle = export_checkpoint(path, tmp_path / "b", precision="paper", manifest=films, report=said.append)
    assert bundle.training["post_training_quantisation"] is True
    assert bundle.training["stage"] == "stage1"
    assert bundle.precision.modules["mask_decoder.upscale_conv1"] == "int8 per tensor"
    assert any("32 / 32 = 1 (published" in line for line in said)
    assert any("post-training quantisation" in line for line in said)


def test_float_weights_for_transformers_and_for_training(tmp_path: Path) -> None:
    reference = Reference(SMALL)
    export_checkpoint_base(reference.save(tmp_path), tmp_path / "base", OPTIONS)
    model = load_base(tmp_path / "base")
    pixels, boxes = example(SMALL)
    with torch.no_grad():
        found = decode(model, encode(model, pixels), boxes)[0]
    torch.testing.assert_close(found, reference.logits(pixels, boxes), atol=1e-4, rtol=0)


def test_without_films_only_what_rounds_no_activation_is_exported(
    reference: Reference, tmp_path: Path
) -> None:
    path = reference.save(tmp_path)
    with pytest.raises(RecipeError, match="--data"):
        export_checkpoint(path, tmp_path / "b")
    with pytest.raises(RecipeError, match="auto is for runs"):
        export_checkpoint(path, tmp_path / "b", precision="auto")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_other_counts_than_its_code_gives_are_said(tmp_path: Path) -> None:
    reference = Reference(SMALL, stage=2)
    document: dict[str, Any] = reference.checkpoint() | {"quantized_layers": 99}
    torch.save(document, tmp_path / "odd.pth")
    said: list[str] = []
    bundle = export_checkpoint(tmp_path / "odd.pth", tmp_path / "b", precision="fp32", report=said.append)
    assert any("99 layers" in line for line in said)
    assert "99 layers" in bundle.training["notices"][0]
    assert load_bundle(tmp_path / "b").training["quantized_layers"] == 99


def test_vit_b_has_the_83_layers_and_the_ratio_of_the_paper() -> None:
    with torch.device("meta"):
        model = build_sam(VIT_B)
    layers = rounded_layers(model)
    assert len(layers) == 83
    assert sum(name.startswith("vision_encoder.") for name in layers) == 36
    assert not [name for name in layers if name.startswith("prompt_encoder.") or "upscale" in name]
    counted = papers_count(model, 36 * (2 * 768 * 48 + 48))
    assert (counted["int8"], counted["qkv"], counted["adapters"]) == (67_734_788, 21_261_312, 2_655_936)
    assert counted["times_smaller"] == pytest.approx(2.2436, abs=5e-5)
