"""The demo passes by this run's numbers alone."""

import math

import pytest

from adaloraqat.report.verdict import judge


def scores(dice, failed=0):
    return {
        "no_box": {"dice_mean": dice, "failed": failed},
        "true_box": {"dice_mean": 0.5, "failed": 0},
    }


@pytest.mark.parametrize(
    ("before", "after", "int8", "passed", "word"),
    [
        (0.80, 0.86, 0.86, True, ""),
        (0.80, 0.86, 0.855, True, ""),
        (0.80, 0.86, 0.90, True, ""),  # INT8 may be better
        (0.80, 0.84, 0.84, False, "Training"),
        (0.80, 0.86, 0.84, False, "INT8"),
        (0.90, 0.80, 0.80, False, "Training"),
        (math.nan, 0.86, 0.86, False, "Training"),
    ],
)
def test_both_conditions_decide(before, after, int8, passed, word):
    verdict = judge(scores(before), scores(after), scores(int8))
    assert verdict.passed is passed
    assert word in " ".join(verdict.failures)
    assert verdict.to_dict()["passed"] is passed


def test_a_failed_film_is_a_failure_even_with_good_means():
    verdict = judge(scores(0.5), scores(0.9), scores(0.9, failed=1))
    assert not verdict.passed
    assert "1 results failed" in verdict.failures[0]
