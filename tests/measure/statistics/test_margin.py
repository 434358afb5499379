"""Tests against the margin: worked apart, and by simulation of models exactly at the margin."""

import numpy as np
import pytest
from scipy import stats

from adaloraqat.measure.statistics import (
    FEWEST_PATIENTS,
    ONE_SIDED_ALPHA,
    bootstrap_mean,
    bootstrap_means,
    margin_test,
)

MARGIN = 0.005


def names(count):
    return [f"p{i}" for i in range(count)]


def plain_p(values, patients, bound, resamples=2000, seed=1):
    """One-sided p of "mean <= bound": a studentised bootstrap written out, or Student's t where greater."""
    random, values, patients = np.random.default_rng(seed), np.asarray(values), np.asarray(patients)
    films = [values[patients == name] for name in np.unique(patients)]

    def mean_and_error(chosen):
        count, total = len(chosen), sum(map(len, chosen))
        mean = np.concatenate(chosen).mean()
        residuals = np.array([(own - mean).sum() for own in chosen])
        return mean, np.sqrt(count / (count - 1) * (residuals**2).sum()) / total

    mean, error = mean_and_error(films)
    t = (mean - bound) / error
    as_far = 0
    for _ in range(resamples):
        drawn, own = mean_and_error([films[i] for i in random.integers(len(films), size=len(films))])
        as_far += (drawn - mean) / own >= t
    share = 1 - 5 / len(films)
    return min(1, max((1 + as_far) / (resamples + 1) / share, stats.t.sf(t, len(films) - 1)))


@pytest.mark.parametrize("films", [1, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_agrees_with_a_studentised_bootstrap_written_out(films, sign):
    random = np.random.default_rng(0)
    values = sign * random.exponential(0.004, 15 * films) - 0.003
    patients = [f"p{i % 15 if films > 1 else i}" for i in range(15 * films)]
    found = margin_test(values, patients, MARGIN)
    below = plain_p(values, patients, -MARGIN)
    above = plain_p(-values, patients, -MARGIN)
    assert found.noninferiority_p == pytest.approx(below, rel=0.15, abs=0.004)
    assert found.equivalence_p == pytest.approx(max(below, above), rel=0.15, abs=0.004)


def test_is_never_surer_than_students_t_and_is_it_for_many_patients():
    random = np.random.default_rng(0)
    for count in (8, 25):
        for _ in range(20):
            values = random.normal(-0.003, 0.004, count)
            t = stats.ttest_1samp(values, -MARGIN, alternative="greater").pvalue
            assert margin_test(values, names(count), MARGIN).noninferiority_p >= t - 1e-12
    values = random.normal(-0.0044, 0.004, 400)
    t = stats.ttest_1samp(values, -MARGIN, alternative="greater").pvalue
    assert margin_test(values, names(400), MARGIN).noninferiority_p == pytest.approx(t, rel=0.3)


def test_many_films_of_a_patient_count_as_one_draw():
    values = np.random.default_rng(1).normal(0, 0.01, 20)
    once = margin_test(values, names(20), MARGIN)
    tenfold = margin_test(np.repeat(values, 10), list(np.repeat(names(20), 10)), MARGIN)
    assert tenfold.noninferiority_p == pytest.approx(once.noninferiority_p)


def test_less_is_better_turns_the_question_round():
    values = np.random.default_rng(2).normal(0.8, 1.0, 30)  # a distance that grew
    assert not margin_test(values, names(30), 0.5, higher_is_better=False).noninferior
    assert margin_test(-values, names(30), 0.5, higher_is_better=False).noninferior


def test_a_verdict_and_an_interval_never_contradict_each_other():
    """Not inferior exactly where the interval lies above −margin; equivalent where it lies between both."""
    random = np.random.default_rng(7)
    seen = []
    for number in range(150):
        count = int(random.integers(FEWEST_PATIENTS, 30))
        codes = np.repeat(np.arange(count), random.integers(1, 4, count))
        draw = (random.normal, random.standard_t, lambda size: np.round(random.normal(size=size)))[number % 3]
        values = 0.006 * (draw(3, size=len(codes)) if number % 3 == 1 else draw(size=len(codes)))
        values = values + random.uniform(-0.008, 0.008)
        low, high = bootstrap_mean(values, list(codes.astype(str)), seed=number)
        found = margin_test(values, list(codes.astype(str)), MARGIN, seed=number)
        assert found.noninferior == (low > -MARGIN)
        assert found.equivalent == (low > -MARGIN and high < MARGIN)
        seen.append((found.noninferior, found.equivalent))
    assert len(set(seen)) == 3  # neither, one, both


SKEWED = {
    "normal": lambda random, shape: random.normal(size=shape),
    "left": lambda random, shape: 1 - random.exponential(size=shape),
    "right": lambda random, shape: random.exponential(size=shape) - 1,
    "tied": lambda random, shape: random.choice([-1.0, 0.0, 1.0], shape, p=[0.2, 0.6, 0.2]),
}


@pytest.mark.parametrize("kind", SKEWED)
@pytest.mark.parametrize(("patients", "most"), [(8, 0.055), (20, 0.045), (60, 0.045)])
@pytest.mark.parametrize("clustered", [False, True])
def test_false_positives_of_models_exactly_at_the_margin(kind, patients, most, clustered):
    """As `benchmarks/simulated_statistics.py`, shorter; a t-test has 5 to 11 % where left-skewed."""
    random, trials = np.random.default_rng([patients, clustered]), 700
    counts = random.integers(1, 6, patients) if clustered else np.ones(patients, int)
    codes = np.repeat(np.arange(patients), counts)
    values = SKEWED[kind](random, (patients, trials))[codes]
    if clustered:
        values = values * 0.7**0.5 + SKEWED[kind](random, (len(codes), trials)) * 0.3**0.5
    intervals = bootstrap_means(values, list(codes.astype(str)), resamples=1199)
    error = np.sqrt(most * (1 - most) / trials)
    assert np.mean(intervals[:, 0] > 0) <= most + 2 * error
    low, high = intervals.T  # no interval covers nothing
    assert np.mean((low <= 0) & (high >= 0)) >= 0.92


def test_equal_models_are_found_equivalent():
    """Power: with 200 patients almost always, with 20 and a margin of one standard deviation mostly."""
    random = np.random.default_rng(4)
    many = [margin_test(random.normal(0, 0.01, 200), names(200), MARGIN).equivalent for _ in range(40)]
    few = [margin_test(random.normal(0, MARGIN, 20), names(20), MARGIN).equivalent for _ in range(40)]
    assert np.mean(many) > 0.95
    assert np.mean(few) > 0.8


@pytest.mark.parametrize(("patients", "shown"), [(7, None), (8, True), (30, True)])
def test_differences_without_spread_are_judged_by_their_signs(patients, shown):
    found = margin_test([0.0] * patients, names(patients), MARGIN)
    assert found.equivalence_p == (0.5**patients if shown else None)
    assert found.equivalent is bool(shown)
    at_the_margin = margin_test([-MARGIN] * patients, names(patients), MARGIN)
    assert at_the_margin.noninferiority_p == (1.0 if shown else None)
    assert not at_the_margin.noninferior


def test_one_odd_patient_among_equals_proves_what_it_can():
    """Of 19 equal patients and one that lost much, the mean is within no margin near that loss's share."""
    lost = [-0.2] + [0.0] * 19
    assert margin_test(lost, names(20), 0.015).noninferiority_p > ONE_SIDED_ALPHA
    assert margin_test(lost, names(20), 0.1).noninferior


def test_few_patients_and_a_margin_that_is_none():
    for count in (1, 2, FEWEST_PATIENTS - 1):
        found = margin_test([0.1 + 0.001 * i for i in range(count)], names(count), MARGIN)
        assert (found.noninferiority_p, found.equivalence_p) == (None, None)
        assert (found.noninferior, found.equivalent) == (False, False)
    for margin in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="margin"):
            margin_test([0.1, 0.2], ["a", "b"], margin)
