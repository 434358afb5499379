"""Sensitivity to INT8: a layer made fragile on purpose is found, and exactly it stays in float."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SamModel

from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.errors import RecipeError
from adaloraqat.export.sensitivity import Films, Proposal, _without, groups_of, propose
from adaloraqat.models.families import build
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize.policy import POLICIES, PrecisionPolicy
from adaloraqat.radiograph import Box, Preprocessing, write_mask
from adaloraqat.training.films import load_films, normalise
from adaloraqat.training.validate import validate

PREPROCESSING = Preprocessing(image_size=64, channels=1)
FRAGILE = "vision_encoder.layers.*.mlp.lin1"


@pytest.fixture(scope="module")
def fragile() -> SamModel:
    """A random model in which every row of one layer has a weight so large that the others round to 0.

    The large weight multiplies an input that is always 0, so that the float model does not feel it.
    """
    torch.manual_seed(0)
    model = build(architecture("tiny").to_dict()).eval()
    with torch.no_grad():
        for layer in model.vision_encoder.layers:
            layer.layer_norm2.weight[0] = layer.layer_norm2.bias[0] = 0
            layer.mlp.lin1.weight[:, 0] = 1000 * layer.mlp.lin1.weight.abs().max()
            layer.mlp.lin2.weight.mul_(20)  # what the block adds matters
    return model


@pytest.fixture(scope="module")
def films(fragile: SamModel, tmp_path_factory: pytest.TempPathFactory) -> Films:
    """Phantom films whose truth is what the float model says, so that its Dice is 1."""
    folder = tmp_path_factory.mktemp("fragile")
    write_phantoms(folder, 8, seed=2, size=64)
    entries = read_manifest(folder / "manifest.csv")[:6]
    found = load_films(entries, PREPROCESSING)
    images, _, valid = found.batch(range(6))
    boxes = np.stack([frame.box_to_model(Box.whole(frame.original)) for frame in found.frames])
    with torch.no_grad():
        embedding = encode(fragile, normalise(images, valid, PREPROCESSING))
        logits, _ = decode(fragile, embedding, torch.from_numpy(boxes)[:, None, :])
    for entry, frame, grid in zip(entries, found.frames, logits[:, 0], strict=True):
        write_mask(Path(entry.path_mask), frame.logits_to_original(grid.numpy()) > 0)
    return Films(found, found, PREPROCESSING, count=6, ranked=3)


def proposal(model: SamModel, films: Films, max_drop: float) -> Proposal:
    return propose(copy.deepcopy(model), POLICIES["int8"], films, max_drop, lambda line: None)


def test_the_fragile_layer_is_first_and_alone_stays_float(fragile: SamModel, films: Films) -> None:
    assert validate(fragile, films.validation, PREPROCESSING)["dice_no_box"] == 1
    found = proposal(fragile, films, 0.1)
    first, second = found.groups[:2]
    assert first.group == FRAGILE
    assert first.drop > 0.1 > second.drop
    assert found.kept_float == (FRAGILE,)
    assert found.dice_float - found.dice <= 0.1
    described = found.policy.describe(fragile)
    integers = {name for name, precision in described.items() if "int8" in precision.lower()}
    assert integers
    assert not any(name.endswith("mlp.lin1") for name in integers if "vision_encoder" in name)


def test_nothing_may_be_lost_so_nothing_is_rounded(fragile: SamModel, films: Films) -> None:
    found = proposal(fragile, films, 0.0)
    assert found.dice_float == found.dice == 1
    assert len(found.kept_float) >= 1


def test_a_negative_drop_is_refused(fragile: SamModel, films: Films) -> None:
    with pytest.raises(RecipeError, match="0 or more"):
        proposal(fragile, films, -0.001)


def test_a_policy_without_integers_is_refused(fragile: SamModel, films: Films) -> None:
    with pytest.raises(RecipeError, match="quantises no layer"):
        propose(fragile, PrecisionPolicy("fp32"), films, 0.1, lambda line: None)


def test_ranking_takes_a_spread_of_the_films(films: Films) -> None:
    few = films.ranking()
    assert [entry.id for entry in few.validation.entries] == [
        films.validation.entries[i].id for i in (0, 2, 5)
    ]
    assert torch.equal(few.validation.images[1], films.validation.images[2])


@pytest.mark.parametrize("name", ["tiny", "small", "lite_medsam_tiny"])
def test_groups_are_all_integer_layers_each_once(name: str) -> None:
    model = build(architecture(name).to_dict())
    policy = POLICIES["int8"]
    groups = groups_of(model, policy)
    names = [layer for members in groups.values() for layer in members]
    assert len(names) == len(set(names))
    modules = dict(model.named_modules())
    assert set(names) <= set(modules)
    assert len(groups) < len(names)  # equal places in different blocks are one group
    assert not any(part.isdigit() for group in groups for part in group.split("."))


def test_products_of_attention_that_stay_float_are_not_rounded() -> None:
    model, policy = build(architecture("lite_medsam_tiny").to_dict()), POLICIES["qmedsam"]
    names = [name for members in groups_of(model, policy).values() for name in members]
    assert any(name.endswith(".scores") for name in names)
    described = _without(policy, names).describe(model).values()
    assert not any("int8" in precision for precision in described)
