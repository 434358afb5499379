import json

import numpy as np
import pytest

from adaloraqat.errors import FilmError
from adaloraqat.measure.film_scores import (
    has_unit,
    higher_is_better,
    measure_label,
    measure_names,
    score_film,
    split_sides,
    worst_scores,
)

SHAPE, SPACING = (30, 40), (0.5, 2.0)


def lungs():
    """Two lungs of 12 x 8 pixels and their labels; the right one lies at the image's left."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:20, 6:14], labels[8:20, 24:32] = 1, 2
    labels[16:20, 16:22] = 3  # heart
    return (labels == 1) | (labels == 2), labels


def numbers(scores):
    return {name: scores.to_dict()[name] for name in measure_names()}


def test_a_perfect_mask_is_best_in_every_measure():
    truth, labels = lungs()
    row = score_film(truth.copy(), truth, SPACING, labels).to_dict()
    for name in measure_names(sides=True):
        assert row[name] == (1.0 if higher_is_better(name) else 0.0), name
    assert (row["tp"], row["fp"], row["fn"], row["tn"]) == (192, 0, 0, 1200 - 192)
    assert row["unit"] == "mm"
    json.dumps(row, allow_nan=False)


def test_both_empty_agree_perfectly():
    empty = np.zeros(SHAPE, bool)
    scores = numbers(score_film(empty, empty.copy()))
    assert scores == {name: 1.0 if higher_is_better(name) else 0.0 for name in measure_names()}


@pytest.mark.parametrize("which", ["prediction", "truth"])
def test_one_empty_is_the_worst_of_every_measure_but_specificity(which):
    mask, _ = lungs()
    empty = np.zeros(SHAPE, bool)
    pair = (empty, mask) if which == "prediction" else (mask, empty)
    scores = numbers(score_film(*pair, SPACING))
    specificity = scores.pop("specificity")
    assert specificity == pytest.approx(1.0 if which == "prediction" else 1 - 192 / 1200)
    diagonal = np.hypot(30 * 0.5, 40 * 2.0)
    assert scores.pop("ssim") == -1.0
    assert scores == {name: 0.0 if higher_is_better(name) else diagonal for name in scores}


def test_a_failure_is_the_worst_of_every_measure_and_counts_no_pixel():
    row = worst_scores(SHAPE, None, sides=("right", "left")).to_dict()
    worst = {"ssim": -1.0}
    for name in measure_names(sides=True):
        assert row[name] == worst.get(name, 0.0 if higher_is_better(name) else 50.0), name

    assert row["unit"] == "px"
    assert [row[count] for count in ("tp", "fp", "fn", "tn")] == [None] * 4
    assert worst_scores(SHAPE).to_dict()["right_dice"] is None
    truth, labels = lungs()
    assert list(row) == list(score_film(truth, truth, labels=labels).to_dict())


def test_nothing_scores_worse_than_a_failure():
    random = np.random.default_rng(0)
    worst = numbers(worst_scores(SHAPE))
    noise = random.random(SHAPE) < 0.5
    pairs = [(random.random(SHAPE) < 0.02, random.random(SHAPE) < 0.02) for _ in range(20)]
    for prediction, truth in [*pairs, (~noise, noise)]:
        found = numbers(score_film(prediction, truth))
        for name, value in found.items():
            assert (value >= worst[name]) is higher_is_better(name) or value == worst[name]


def test_by_hand_in_mm_and_in_px():
    """Both lungs a column too far left: 12 pixels a lung are missing and 12 are too many."""
    truth, _ = lungs()
    prediction = np.roll(truth, -1, axis=1)
    px, mm = score_film(prediction, truth), score_film(prediction, truth, SPACING, tolerances=(1.9, 2))
    assert px.to_dict()["dice"] == mm.to_dict()["dice"] == pytest.approx(168 / 192)
    assert (px.to_dict()["hd95"], mm.to_dict()["hd95"]) == (1.0, 2.0)
    assert px.to_dict()["nsd_2"] == mm.to_dict()["nsd_2"] == 1.0
    assert mm.to_dict()["nsd_1.9"] < 1
    row = px.to_dict()
    assert row["sensitivity"] == pytest.approx(168 / 192)
    assert row["specificity"] == pytest.approx(1 - 24 / (1200 - 192))


def test_sides_share_out_every_predicted_pixel_to_the_nearest_lung():
    truth, labels = lungs()
    prediction = truth.copy()
    prediction[0, 0] = prediction[17, 17] = prediction[17, 20] = (
        True  # far left; heart, nearer right; nearer left
    )
    row = score_film(prediction, truth, None, labels).to_dict()
    assert row["right_dice"] == pytest.approx(2 * 96 / (2 * 96 + 2))
    assert row["left_dice"] == pytest.approx(2 * 96 / (2 * 96 + 1))
    right, left = split_sides(prediction, labels).values()
    assert (right ^ left == prediction).all()


@pytest.mark.parametrize(("spacing", "side"), [(None, "right"), ((0.5, 2.0), "left"), ((2.0, 0.5), "right")])
def test_the_nearest_lung_is_nearest_in_mm_where_mm_are_known(spacing, side):
    """3 columns from the right lung, 6 rows from the left one: 6 mm and 3 mm where pixels are 0.5 x 2 mm."""
    labels = np.zeros((30, 40), np.uint8)
    labels[0:12, 0:8], labels[12:24, 2:20] = 1, 2
    truth = labels > 0
    prediction = truth.copy()
    prediction[6, 10] = True
    row = score_film(prediction, truth, spacing, labels).to_dict()
    sizes = {"right": 12 * 8, "left": 12 * 18}
    for name, size in sizes.items():
        assert row[f"{name}_dice"] == pytest.approx(2 * size / (2 * size + (name == side))), name


def test_a_lung_without_label_is_not_scored_and_the_other_takes_all():
    truth, labels = lungs()
    labels[labels == 2] = 0
    scores = score_film(truth, labels == 1, None, labels)
    row = scores.to_dict()
    assert row["left_dice"] is None
    assert row["right_dice"] == row["dice"]


def test_without_labels_there_are_no_sides():
    truth, _ = lungs()
    assert score_film(truth, truth).to_dict()["left_hd95"] is None


def test_names():
    assert measure_label("left_nsd_2", "mm") == "NSD at 2 mm, left lung"
    assert measure_label("hd95", "px") == "HD95 (px)"
    assert measure_label("dice", "px") == "Dice"
    assert [name for name in measure_names() if has_unit(name)] == ["nsd_2", "nsd_5", "hd95", "assd"]
    assert not higher_is_better("right_hd95")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"spacing_mm": (0.0, 1.0)}, "spacing"),
        ({"tolerances": (-1.0,)}, "tolerance"),
        ({"labels": np.zeros((3, 3), np.uint8)}, "labels"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, says):
    truth, _ = lungs()
    with pytest.raises(FilmError, match=says):
        score_film(truth, truth, **arguments)
