import numpy as np
import pytest
from scipy import stats

from adaloraqat.measure.statistics import bootstrap_mean, bootstrap_means


def clustered(random, patients, spread=1.0, most_films=6):
    """Differences with a patient's share and a film's share of the spread; mean 0; unequal patients."""
    films = random.integers(1, most_films + 1, patients)
    codes = np.repeat(np.arange(patients), films)
    return random.normal(0, spread, patients)[codes] + random.normal(0, spread / 2, len(codes)), codes


@pytest.mark.parametrize("patients", [8, 40])
@pytest.mark.parametrize("skewed", [False, True])
def test_coverage_with_clustered_films(patients, skewed):
    """95 % intervals hold the truth in at least 92 % of draws, within two errors; none is idly wide."""
    random, hits, draws = np.random.default_rng(2), 0, 400
    for number in range(draws):
        values, codes = clustered(random, patients)
        if skewed:  # like Dice: a long tail towards bad
            values = values - stats.norm.pdf(0)
            values = -np.exp(0.6 * values) + np.exp(0.6 * -stats.norm.pdf(0) + 0.18 * 1.25)
        low, high = bootstrap_mean(values, codes.astype(str), seed=number, resamples=999)
        hits += low <= 0 <= high
    error = np.sqrt(0.92 * 0.08 / draws)
    assert 0.92 - 2 * error <= hits / draws
    assert patients < 40 or hits / draws < 0.985


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_fewer_than_eight_patients_have_no_interval(count):
    values = np.random.default_rng(1).random(3 * count)
    assert np.isnan(bootstrap_mean(values, [str(i % count) for i in range(3 * count)])).all()
    assert np.isnan(bootstrap_means(values[:, None], [str(i % count) for i in range(3 * count)])).all()


def test_eight_patients_have_one():
    low, high = bootstrap_mean([0.9, 0.8, 0.95, 0.93, 0.91, 0.88, 0.97, 0.9], list("abcdefgh"))
    assert 0.8 < low < 0.905 < high < 1


def test_films_of_one_patient_do_not_pass_for_many_patients():
    """Every film ten times over says nothing new."""
    random = np.random.default_rng(4)
    values = random.normal(size=30)
    once = bootstrap_mean(values, [str(i) for i in range(30)])
    tenfold = bootstrap_mean(np.repeat(values, 10), [str(i) for i in np.repeat(np.arange(30), 10)])
    naive = bootstrap_mean(np.repeat(values, 10), [str(i) for i in range(300)])
    assert tenfold == pytest.approx(once, abs=0.02)
    assert naive[1] - naive[0] < 0.5 * (once[1] - once[0])


def test_agrees_with_t_for_many_patients():
    values = np.random.default_rng(7).normal(0.9, 0.05, 400)
    expected = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert bootstrap_mean(values, [str(i) for i in range(400)]) == pytest.approx(expected, abs=6e-4)


def test_the_longer_tail_has_the_longer_end():
    """Of scores with a tail towards bad the interval reaches further down; t alone would not."""
    values = 1 - np.random.default_rng(8).exponential(0.05, 60)
    low, high = bootstrap_mean(values, [str(i) for i in range(60)])
    mean, half = values.mean(), stats.t.ppf(0.975, 59) * stats.sem(values)
    assert mean - low > 1.15 * half
    assert high - mean == pytest.approx(half, rel=0.02)  # never nearer than t puts it


def test_a_scipy_bootstrap_of_t_gives_the_same_ends():
    """The quantiles of t* by SciPy's resampling: `share` of the tail for 60 patients is 1 − 5/60."""
    values = 1 - np.random.default_rng(8).exponential(0.05, 60)
    mean, error = values.mean(), stats.sem(values)

    def pivot(sample, axis):
        return (sample.mean(axis=axis) - mean) / stats.sem(sample, axis=axis)

    found = stats.bootstrap(
        (values,), pivot, n_resamples=9999, method="percentile", random_state=np.random.default_rng(1)
    )
    tail = 0.025 * (1 - 5 / 60)
    low = mean - np.quantile(found.bootstrap_distribution, 1 - tail) * error
    got = bootstrap_mean(values, [str(i) for i in range(60)], resamples=9999)
    assert got[0] == pytest.approx(low, abs=0.1 * error)


def test_is_seeded_and_columns_share_their_draws():
    random = np.random.default_rng(9)
    values, patients = random.random((50, 3)), [str(i // 2) for i in range(50)]
    together = bootstrap_means(values, patients, seed=5)
    for column in range(3):
        assert bootstrap_mean(values[:, column], patients, seed=5) == pytest.approx(tuple(together[column]))
    assert bootstrap_mean(values[:, 0], patients, 5) == bootstrap_mean(values[:, 0], patients, 5)
    assert bootstrap_mean(values[:, 0], patients, 5) != bootstrap_mean(values[:, 0], patients, 6)


def test_equal_values_leave_no_spread_to_make_an_interval_from():
    names = [str(i) for i in range(10)]
    assert np.isnan(bootstrap_mean([0.9] * 10, names)).all()
    assert np.isnan(bootstrap_mean([0.1 + 0.2] * 5 + [0.3] * 5, names)).all()  # but for rounding
    one_differs = bootstrap_mean([0.9] * 9 + [0.8], names)
    assert np.isfinite(one_differs).all()
    assert one_differs[0] < 0.88 < 0.89 < one_differs[1]


def test_values_that_are_none_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        bootstrap_mean([0.5, np.nan], ["a", "b"])
    with pytest.raises(ValueError, match="patients"):
        bootstrap_mean([0.5, 0.4], ["a"])


def test_a_spread_far_below_the_values_is_still_a_spread():
    """Only what rounding could have made counts as none: 1e-7 of scores near 1 is a thousand times that."""
    values = 0.9 + 1e-7 * np.random.default_rng(3).normal(size=200)
    low, high = bootstrap_mean(values, [str(i) for i in range(200)])
    assert low < values.mean() < high
    assert np.isnan(bootstrap_mean([0.1 + 0.2] * 100 + [0.3] * 100, [str(i) for i in range(200)])).all()
