"""Tests against the margin: worked by hand, and by simulation of models exactly at the margin."""

import numpy as np
import pytest
from scipy import stats

from adaloraqat.measure.statistics import margin_test

MARGIN = 0.005


def names(count):
    return [f"p{i}" for i in range(count)]


def test_with_one_film_a_patient_it_is_the_paired_t_test():
    values = np.random.default_rng(0).normal(-0.001, 0.004, 25)
    found = margin_test(values, names(25), MARGIN)
    below = stats.ttest_1samp(values, -MARGIN, alternative="greater").pvalue
    above = stats.ttest_1samp(values, MARGIN, alternative="less").pvalue
    assert found.noninferiority_p == pytest.approx(below)
    assert found.equivalence_p == pytest.approx(max(below, above))
    assert found.standard_error == pytest.approx(stats.sem(values))


def test_many_films_of_a_patient_count_as_one_draw():
    values = np.random.default_rng(1).normal(0, 0.01, 20)
    once = margin_test(values, names(20), MARGIN)
    tenfold = margin_test(np.repeat(values, 10), list(np.repeat(names(20), 10)), MARGIN)
    assert tenfold.noninferiority_p == pytest.approx(once.noninferiority_p)


def test_less_is_better_turns_the_question_round():
    values = np.random.default_rng(2).normal(0.8, 1.0, 30)  # a distance that grew
    assert not margin_test(values, names(30), 0.5, higher_is_better=False).noninferior
    assert margin_test(-values, names(30), 0.5, higher_is_better=False).noninferior


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("side", [-1, 1])
def test_false_positive_rate_of_models_exactly_at_the_margin(clustered, side):
    """A model worse by the very margin passes in 2.5 % of 800 trials, within binomial error."""
    random, trials, patients = np.random.default_rng(3), 800, 40
    noninferior, equivalent = [], []
    for _ in range(trials):
        films = random.integers(1, 5, patients) if clustered else np.ones(patients, int)
        codes = np.repeat(np.arange(patients), films)
        values = random.normal(0, 0.006, patients)[codes] + random.normal(side * MARGIN, 0.004, len(codes))
        found = margin_test(values, [str(code) for code in codes], MARGIN)
        noninferior.append(found.noninferior)
        equivalent.append(found.equivalent)
    error = np.sqrt(0.025 * 0.975 / trials)
    slack = 4 * error + (0.005 if clustered else 0)  # unequal patients: known to be a little liberal
    assert np.mean(equivalent) == pytest.approx(0.025, abs=slack)
    if side < 0:
        assert np.mean(noninferior) == pytest.approx(0.025, abs=slack)
    else:
        assert np.mean(noninferior) > 0.95


def test_equal_models_are_found_equivalent_and_too_few_films_prove_nothing():
    random = np.random.default_rng(4)
    assert (
        np.mean([margin_test(random.normal(0, 0.01, 200), names(200), MARGIN).equivalent for _ in range(50)])
        > 0.95
    )
    assert (
        np.mean([margin_test(random.normal(0, 0.01, 5), names(5), MARGIN).equivalent for _ in range(50)])
        < 0.1
    )


@pytest.mark.parametrize(("patients", "shown"), [(2, False), (5, False), (6, True)])
def test_differences_without_spread_are_judged_by_their_signs(patients, shown):
    found = margin_test([0.0] * patients, names(patients), MARGIN)
    assert found.equivalence_p == 0.5**patients
    assert found.equivalent is shown
    assert margin_test([-MARGIN] * patients, names(patients), MARGIN).noninferiority_p == 1.0


def test_one_patient_and_a_margin_that_is_none():
    found = margin_test([0.1, 0.2], ["a", "a"], MARGIN)
    assert (found.noninferiority_p, found.noninferior, found.equivalent) == (None, False, False)
    for margin in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="margin"):
            margin_test([0.1, 0.2], ["a", "b"], margin)
