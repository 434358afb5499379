import itertools

import numpy as np
import pytest
from scipy import stats

from adaloraqat.measure.statistics import holm, signed_rank

# Darwin's 15 pairs of maize (1876), in eighths of an inch, as Fisher (1935) gives the differences
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def test_darwins_maize():
    """Hollander and Wolfe, also SciPy's own example: W- = 24, exact two-sided p = 0.041."""
    result = signed_rank([value / 8 for value in DARWIN])
    assert result.p == pytest.approx(0.041259765625, abs=1e-12)
    assert result.effect_size == pytest.approx((96 - 24) / 120)  # rank sums 96 and 24 of 120
    assert (result.n, result.zeros) == (15, 0)


def enumerated(values):
    """Exact p over all signs, ranking with zeros and dropping them after (Pratt)."""
    ranks = stats.rankdata(np.abs(values))
    kept = ranks[np.asarray(values) != 0]
    centre = kept.sum() / 2
    seen = abs(ranks[np.asarray(values) > 0].sum() - centre)
    sums = [np.dot(signs, kept) for signs in itertools.product((0, 1), repeat=len(kept))]
    return np.mean([abs(total - centre) >= seen - 1e-9 for total in sums])


@pytest.mark.parametrize(
    "values", [[1, 1, 2, -1, 3, 0, 0, 4], [0, 0, 0, 0, 1, 2], [1, 1, 1, 1, 1, 1], [0.1, -0.2, 0.2, 0.3, 0]]
)
def test_small_samples_with_ties_and_zeros_are_exact(values):
    assert signed_rank(values).p == pytest.approx(enumerated(values), abs=1e-9)


def test_zeros_are_ranked_and_then_dropped():
    """By hand, beside four zeros the ranks of 1, 2, 4, 4, 5, 6 are 5, 6, 7.5, 7.5, 9, 10, and W+ is 11.

    8 of the 64 choices of signs give 11 or less (none, each rank alone, 5 + 6), as many the opposite: 16.
    Dropped before ranking, as Wilcoxon did, the zeros would leave 8 of 64.
    """
    values = [0, 0, 0, 0, 1, 2, -5, -4, -6, -4]
    assert signed_rank(values).p == pytest.approx(enumerated(values), abs=1e-12)
    assert signed_rank(values).p == pytest.approx(0.25)


def test_zeros_are_ranked_and_then_dropped_in_samples_beyond_50_too():
    """Random signs of the ranks that are kept have the variance Σ rank² / 4, and so the normal p."""
    values = np.concatenate([np.zeros(30), np.arange(1.0, 31), -np.arange(1.0, 13)])
    ranks = stats.rankdata(np.abs(values))
    kept = ranks[values != 0]
    z = (ranks[values > 0].sum() - kept.sum() / 2) / np.sqrt((kept**2).sum() / 4)
    assert signed_rank(values).p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-6)


def test_no_difference_at_all():
    result = signed_rank([0.0, 1e-17, 0.0])
    assert (result.p, result.effect_size, result.zeros) == (1.0, 0.0, 3)


def test_rounding_does_not_hide_ties():
    assert signed_rank([0.3 - 0.2, 0.2 - 0.1, 0.1]).p == signed_rank([1, 1, 1]).p


@pytest.mark.parametrize("values", [[], [np.nan, 1.0]])
def test_nothing_to_test_is_refused(values):
    with pytest.raises(ValueError, match="at least one"):
        signed_rank(values)


@pytest.mark.parametrize(("patients", "step"), [(12, 0.0), (40, 0.0), (12, 0.05), (80, 0.05)])
def test_false_positive_rate_on_equal_models(patients, step):
    """At level 0.05 at most 5 % of 600 draws without a difference, within four standard errors.

    `step` rounds the differences, so that ties and zeros occur.
    """
    random = np.random.default_rng(11)
    draws = random.standard_t(3, size=(600, patients)) / 10
    if step:
        draws = np.round(draws / step) * step
    rate = np.mean([signed_rank(row).p < 0.05 for row in draws])
    error = np.sqrt(0.05 * 0.95 / 600)
    assert rate <= 0.05 + 4 * error
    assert rate >= 0.01  # nor is it idle


def test_holm_worked_example():
    """Five p-values: 0.01 x 5, 0.02 x 4, 0.022 x 3 raised to 0.08, 0.09 x 2, 0.09 x 1 raised."""
    assert holm([0.09, 0.01, 0.022, 0.02, 0.09]) == pytest.approx([0.18, 0.05, 0.08, 0.08, 0.18])
    assert holm([]) == []
    assert holm([0.8, 0.7]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="0 to 1"):
        holm([1.2])


def test_holm_keeps_the_chance_of_any_false_finding():
    random = np.random.default_rng(3)
    any_found = np.mean([min(holm(list(random.random(6)))) < 0.05 for _ in range(2000)])
    assert any_found == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 2000))
