import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaloraqat.errors import FilmError
from adaloraqat.measure.overlap import Confusion, confusion, dice, iou


def test_hand_counted():
    truth = np.array([[1, 1, 0, 0], [1, 1, 0, 0]], bool)
    prediction = np.array([[0, 1, 1, 0], [0, 1, 0, 0]], bool)
    assert confusion(prediction, truth) == Confusion(2, 1, 2, 3)
    assert dice(prediction, truth) == pytest.approx(4 / 7)
    assert iou(prediction, truth) == pytest.approx(2 / 5)


@pytest.mark.parametrize(
    ("predicted", "true", "score"),
    [(False, False, 1.0), (True, False, 0.0), (False, True, 0.0), (True, True, 1.0)],
)
def test_empty_masks(predicted, true, score):
    prediction, truth = np.full((3, 5), predicted), np.full((3, 5), true)
    assert dice(prediction, truth) == score
    assert iou(prediction, truth) == score


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_agrees_with_sets_of_pixels(height, width, seed):
    random = np.random.default_rng(seed)
    a, b = random.random((2, height, width)) < random.random()
    in_a, in_b = set(map(tuple, np.argwhere(a))), set(map(tuple, np.argwhere(b)))
    if in_a or in_b:
        assert dice(a, b) == pytest.approx(2 * len(in_a & in_b) / (len(in_a) + len(in_b)))
        assert iou(a, b) == pytest.approx(len(in_a & in_b) / len(in_a | in_b))
    counts = confusion(a, b)
    total = counts.true_positive + counts.false_positive + counts.false_negative + counts.true_negative
    assert total == height * width
    assert dice(a, b) == dice(b, a)


def test_other_size_is_refused_with_both_sizes():
    with pytest.raises(FilmError, match=r"4×3.*5×3"):
        dice(np.zeros((3, 4), bool), np.zeros((3, 5), bool))


@pytest.mark.parametrize("bad", [np.zeros((3, 4)), np.zeros(4, bool), np.zeros((1, 3, 4), bool)])
def test_soft_or_flat_masks_are_refused(bad):
    with pytest.raises(FilmError, match="predicted mask is not"):
        iou(bad, np.zeros((3, 4), bool))
