"""Points and masks as prompts: a bundle answers as transformers' `SamModel` does with the same prompts."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import SamModel

from adaloraqat import Segmenter
from adaloraqat.bundle import Bundle
from adaloraqat.bundle.format import Prompt
from adaloraqat.bundle.prompts import Prompts
from adaloraqat.errors import BundleError, FilmError
from adaloraqat.export.mask_parity import installed_engines
from adaloraqat.radiograph import Film, Preprocessing
from adaloraqat.training.run import TorchEngine, model_segmenter

FILM = Film(
    np.random.default_rng(3).random((96, 128), dtype=np.float32)
)  # half its size on the model's square
BOX = (20, 10, 101.5, 90)
PREPROCESSING = Preprocessing(image_size=64, channels=1)
POINTS = [(30, 12), (90.5, 60), (127, 95)]
MASK = np.random.default_rng(4).normal(0, 4, (32, 32)).astype(np.float32)
PROMPTS: dict[str, dict[str, Any]] = {
    "one point": {"points": POINTS[:1]},
    "points": {"points": POINTS, "labels": [1, 0, 1]},
    "a box and points": {"box": BOX, "points": POINTS, "labels": [0, 0, 1]},
    "a box and a mask": {"box": BOX, "mask": MASK},
    "points and a mask": {"points": POINTS, "labels": [1, 1, 0], "mask": MASK},
    "a mask": {"mask": MASK},
    "a box": {"box": BOX},
}


@torch.no_grad()
def published(model: SamModel, pixels: np.ndarray, box=None, points=None, labels=None, mask=None):
    """What transformers answers; its prompts are in pixels of the model's square, half those of the film."""
    found = model(
        pixel_values=torch.from_numpy(pixels)[None],
        input_points=None if points is None else torch.tensor([[points]]) / 2,
        input_labels=None if labels is None else torch.tensor([[labels]]),
        input_boxes=None if box is None else torch.tensor([[box]]) / 2,
        input_masks=None if mask is None else torch.from_numpy(mask)[None, None],
        multimask_output=False,
    )
    return found.pred_masks[0, 0, 0].numpy(), float(found.iou_scores[0, 0, 0])


@pytest.fixture(scope="module")
def with_points(calibrated, write_as, tmp_path_factory) -> Callable[[str], tuple[SamModel, Bundle]]:
    """A calibrated model of a policy, and its bundle that takes points, OpenVINO IR included; made once."""

    @cache
    def export(policy: str) -> tuple[SamModel, Bundle]:
        model = calibrated(policy)
        folder = tmp_path_factory.mktemp("points") / policy
        more = {"accepts_points": True, "quality_trained": True, "openvino": policy == "int8"}
        return model, write_as(model, policy, folder, **more)

    return export


@pytest.fixture(scope="module")
def loaded() -> Callable[[Bundle], list[Segmenter]]:
    """A bundle in every installed engine; loaded once."""
    known: dict[Path, list[Segmenter]] = {}

    def load(bundle: Bundle) -> list[Segmenter]:
        if bundle.folder not in known:
            engines = installed_engines()
            known[bundle.folder] = [Segmenter.load(bundle.folder, name, 1) for name in engines]
        return known[bundle.folder]

    return load


@pytest.fixture
def in_torch(sam: SamModel) -> Segmenter:
    return model_segmenter(sam, PREPROCESSING, Prompt(False, True), accepts_points=True)


@pytest.mark.parametrize("asked", PROMPTS.values(), ids=PROMPTS)
def test_it_answers_as_transformers_does(sam: SamModel, with_points, loaded, in_torch, asked: dict) -> None:
    _, bundle = with_points("fp32")
    pixels, _ = bundle.preprocessing(FILM.pixels)
    logits, quality = published(sam, pixels, **asked)
    for segmenter in (in_torch, *loaded(bundle)):
        result = segmenter.segment(FILM, **asked)
        np.testing.assert_allclose(result.logits, logits, atol=2e-6)
        assert result.quality == pytest.approx(max(0, min(1, quality)), abs=2e-6)
        assert len(result.points) == len(asked.get("points", ()))


@pytest.mark.parametrize("policy", ["paper", "int8", "qmedsam"])
@pytest.mark.parametrize("asked", [PROMPTS["a box and points"], PROMPTS["points and a mask"]])
def test_so_do_integers_as_their_trained_model(with_points, loaded, policy: str, asked: dict) -> None:
    model, bundle = with_points(policy)
    assert "mask_prompt.onnx" in bundle.files
    assert ("openvino/mask_prompt.xml" in bundle.files) == (policy == "int8")  # the others run from ONNX
    trained = Segmenter(bundle, TorchEngine(model, accepts_points=True)).segment(FILM, **asked).logits
    plain = Segmenter(bundle, TorchEngine(model, accepts_points=True)).segment(FILM, BOX).logits
    segmenters = loaded(bundle) if policy == "int8" else [Segmenter.load(bundle.folder, threads=1)]
    for segmenter in segmenters:
        found = segmenter.segment(FILM, **asked).logits
        assert np.abs(found - trained).max() < 0.1 * np.abs(trained - plain).max()


@pytest.mark.parametrize("policy", ["fp32", "int8"])
def test_a_box_is_answered_bit_for_bit_as_by_a_bundle_without_points(
    exported, with_points, loaded, policy: str
) -> None:
    (_, boxes_only), (_, bundle) = exported(policy), with_points(policy)
    assert bundle.parameters["not_exported"] < boxes_only.parameters["not_exported"]
    for one, other in zip(loaded(boxes_only), loaded(bundle), strict=True):
        before, now = one.segment(FILM, BOX), other.segment(FILM, BOX)
        assert np.array_equal(before.logits, now.logits)


def test_a_mask_on_the_films_grid_and_an_answer_are_mask_prompts_too(in_torch: Segmenter) -> None:
    first = in_torch.segment(FILM, BOX)
    by_answer, by_logits = (in_torch.segment(FILM, points=POINTS, mask=m) for m in (first, first.logits))
    assert np.array_equal(by_answer.logits, by_logits.logits)
    inside = np.zeros(FILM.shape, bool)
    inside[8:88, 16:104] = True  # a cell of the 32 x 32 is four pixels of the film
    by_mask = in_torch.segment(FILM, points=POINTS, mask=inside)
    as_picture = in_torch.segment(FILM, points=POINTS, mask=inside.astype(np.uint8) * 255)
    assert np.array_equal(by_mask.logits, as_picture.logits)
    assert not np.array_equal(by_mask.logits, by_answer.logits)
    assert by_mask.box_source == "points"
    assert by_mask.to_dict()["points"] == [[*point, 1] for point in POINTS]
    frame = in_torch.bundle.preprocessing(FILM.pixels)[1]
    cells = Prompts.of(FILM.shape, mask=inside).mask_logits(frame, 32)
    assert cells is not None
    sure = np.log(999)  # a thousandth from certain
    assert cells[3:21, 5:25] == pytest.approx(sure, abs=1e-3)
    assert cells[23:] == pytest.approx(-sure, abs=1e-3)
    assert cells[:, 27:] == pytest.approx(-sure, abs=1e-3)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"points": [(128, 10)]}, "The point (128, 10) lies outside the film of 128 x 96 pixels"),
        ({"points": [(-0.5, 10)]}, "lies outside the film"),
        ({"points": [(float("nan"), 10)]}, "lies outside the film"),
        ({"points": POINTS, "labels": [1, 2, 0]}, "The label 2 is neither 0 nor 1"),
        ({"points": POINTS, "labels": [1, 0]}, "There are 3 points but 2 labels"),
        ({"labels": [1]}, "Labels were given without points"),
        ({"points": (30, 12)}, "The points are not a list of (x, y) pairs"),
        ({"points": [(1, 2, 3)]}, "The points are not a list of (x, y) pairs"),
        ({"points": [("a", "b")]}, "The points are not numbers"),
        ({"mask": np.zeros((95, 128), bool)}, "The mask prompt has 128 x 95 pixels and the film 128 x 96"),
        ({"mask": np.zeros((96, 128), np.float32)}, "holds logits, finite and 32 x 32"),
        ({"mask": np.full((32, 32), np.nan, np.float32)}, "holds logits, finite"),
        ({"box": (5, 5, 5, 9), "points": POINTS}, "is inverted or empty"),
    ],
)
def test_what_does_not_fit_the_film_is_refused_in_a_sentence(
    in_torch: Segmenter, asked: dict, sentence: str
) -> None:
    with pytest.raises(FilmError, match=re.escape(sentence)) as refusal:
        in_torch.segment(FILM, **asked)
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize("asked", [{"points": POINTS}, {"mask": MASK}, {"labels": [1]}])
def test_a_bundle_that_takes_boxes_alone_refuses_points(exported, asked: dict) -> None:
    _, bundle = exported("fp32")
    for segmenter in (Segmenter.load(bundle.folder, threads=1), Segmenter.load("lung-field-fast", threads=1)):
        with pytest.raises(BundleError, match="does not take points or masks: give a box"):
            segmenter.segment(FILM, **asked)
