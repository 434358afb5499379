"""Intervals and tests of a mean over films by one studentised bootstrap; chance draws patients.

Each resample draws as many patients as there are, with replacement, takes all films of each, and gives
t* = (its mean − the mean) / its standard error, clustered by patient (Hall 1988; Davison and Hinkley 1997,
section 5.2; with clusters Cameron, Gelbach and Miller 2008). The spread of t* stands where a t-test takes
Student's distribution, so that skewed scores are judged by their own shape. Two precautions were set by
simulation (`benchmarks/simulated_statistics.py`), both towards less certainty:

- an end of an interval is never nearer than Student's t puts it: with ties t* alone is too narrow;
- few patients show less skewness than there is, so p-values of the bootstrap are divided by
  1 − 5 / patients, which is 0.375 with 8 and 0.9 with 50.

An interval and a test against a bound come from the same draws: p < 0.025 exactly where the bound lies
outside the 95 % interval. With fewer than `FEWEST_PATIENTS` there is neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST_PATIENTS = 8
"""With fewer, no method tried kept its word: nothing but the mean is given."""

ONE_SIDED_ALPHA = 0.025
RESAMPLES = 3999  # so that tails are whole numbers of t*: (1 + count) / 4000
_LOST_PATIENTS = 5.0  # p-values are divided by 1 − this / patients
_BLOCK = 4_000_000  # weights held at a time
_NO_SPREAD = 1e-9  # an error below this share of the size of the values is rounding


@dataclass(frozen=True)
class ByPatient:
    """Sums over each patient's films.

    Attributes:
        sums: (M, K) sum of each of K values over the films of each of M patients.
        films: (M,) number of films of each patient.
    """

    sums: Floats
    films: Floats

    @property
    def means(self) -> Floats:
        """(M, K) mean of each patient."""
        return self.sums / self.films[:, None]

    @property
    def overall(self) -> Floats:
        """(K,) mean over films, each film counting once."""
        return np.asarray(self.sums.sum(axis=0) / self.films.sum())


def by_patient(values: Floats, patients: Sequence[str]) -> ByPatient:
    """Gather (N, K) values, one row per film, by the patient of each row; patients in order of their names.

    Raises:
        ValueError: the two differ in length, or a value is not finite.

    """
    if len(values) != len(patients):
        raise ValueError(f"{len(values)} values but {len(patients)} patients")
    if not np.isfinite(values).all():
        raise ValueError("a value is NaN or infinite: give a failed film its worst score")
    _, index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    count = int(index.max()) + 1 if len(index) else 0
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, index, values)
    return ByPatient(sums, np.bincount(index, minlength=count).astype(float))


@dataclass(frozen=True)
class Studentised:
    """Means of K columns with what a bootstrap says of their errors.

    Attributes:
        mean: (K,) over films, in the unit of the values.
        error: (K,) standard error, clustered by patient; 0 where all patients are alike.
        pivots: (R, K) of t*, sorted upwards. A resample without any spread, whose t* would be infinite, has
            the greatest size of all others.
        patients: how many, at least `FEWEST_PATIENTS`.
    """

    mean: Floats
    error: Floats
    pivots: Floats
    patients: int

    def intervals(self, level: float = 0.95) -> Floats:
        """Return (K, 2), low and high; NaN where all patients are alike: no spread to judge by."""
        from scipy import stats

        resamples = len(self.pivots)
        tail = (1 - level) / 2 * (resamples + 1) * self._share
        place = max(1, int(np.ceil(tail - 1e-9)) - 1)  # of t*, counted from either end
        student = stats.t.ppf(0.5 + level / 2, self.patients - 1)
        low = self.mean - np.maximum(self.pivots[-place], student) * self.error
        high = self.mean - np.minimum(self.pivots[place - 1], -student) * self.error
        found = np.stack([low, high], axis=1)
        found[self.error == 0] = np.nan
        return found

    def p_above(self, bound: float, column: int = 0) -> float:
        """Return the one-sided p of "the mean is `bound` or less"."""
        return self._p(self.mean[column] - bound, column, self.pivots[:, column])

    def p_below(self, bound: float, column: int = 0) -> float:
        """Return the one-sided p of "the mean is `bound` or more"."""
        return self._p(bound - self.mean[column], column, -self.pivots[::-1, column])

    def _p(self, distance: float, column: int, pivots: Floats) -> float:
        from scipy import stats

        error = float(self.error[column])
        if error == 0:  # all alike: M of M patients on one side of the bound have the chance 0.5^M
            beyond = distance > _NO_SPREAD * abs(self.mean[column])
            return float(0.5**self.patients) if beyond else 1.0
        t = distance / error
        as_far = len(pivots) - int(np.searchsorted(pivots, t, side="left"))
        drawn = (1 + as_far) / (len(pivots) + 1) / self._share
        return float(min(1.0, max(drawn, stats.t.sf(t, self.patients - 1))))

    @property
    def _share(self) -> float:
        return 1 - _LOST_PATIENTS / self.patients


def studentise(gathered: ByPatient, seed: int = 0, resamples: int = RESAMPLES) -> Studentised | None:
    """Bootstrap the means over films; None with fewer than `FEWEST_PATIENTS` patients.

    Args:
        gathered: K values of each patient's films, summed; all columns share their draws.
        seed: the same seed gives the same draws.
        resamples: number of bootstrap samples.
    """
    films, count = gathered.films, len(gathered.films)
    if count < FEWEST_PATIENTS:
        return None
    mean = gathered.overall
    deviations = gathered.sums - mean * films[:, None]  # (M, K), each patient's, summed over films
    inflated = count / (count - 1)
    error = np.sqrt(inflated * (deviations**2).sum(axis=0)) / films.sum()
    error[error <= _NO_SPREAD * np.abs(gathered.sums).sum(axis=0) / films.sum()] = 0.0
    pivots = np.empty((resamples, len(mean)))
    random = np.random.default_rng(seed)
    rows = max(1, _BLOCK // count)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = random.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(float)
        drawn_films = (times @ films)[:, None]
        shift = (times @ deviations) / drawn_films  # (R, K), the resample's mean minus the mean
        # Σ (deviation − shift · films)² over the patients drawn, without holding (R, M, K)
        squares = times @ deviations**2 - 2 * shift * (times @ (deviations * films[:, None]))
        squares += shift**2 * (times @ films**2)[:, None]
        own = np.sqrt(inflated * np.maximum(squares, 0)) / drawn_films
        own[own <= 1e-6 * error] = 0.0  # rounding of the sums above
        moved = np.abs(shift) > 1e-6 * error
        with np.errstate(divide="ignore", invalid="ignore"):
            pivots[start : start + size] = np.where(moved, shift / own, 0.0)
    greatest = np.abs(np.where(np.isfinite(pivots), pivots, 0.0)).max(axis=0)
    return Studentised(mean, error, np.sort(np.clip(pivots, -greatest, greatest), axis=0), count)


def bootstrap_mean(
    values: Sequence[float],
    patients: Sequence[str],
    seed: int = 0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Return the interval (low, high) of the mean over films, in the unit of `values`.

    Args:
        values: one per film.
        patients: of each film.
        seed: the same seed gives the same interval.
        level: confidence, between 0 and 1.
        resamples: number of bootstrap samples.

    Returns:
        (low, high); (NaN, NaN) with fewer than `FEWEST_PATIENTS` patients, and where they have no spread.

    Raises:
        ValueError: values and patients do not fit together.

    """
    columns = np.asarray(values, dtype=float)[:, None]
    low, high = bootstrap_means(columns, patients, seed, level, resamples)[0]
    return float(low), float(high)


def bootstrap_means(
    values: NDArray[np.float64],
    patients: Sequence[str],
    seed: int = 0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Floats:
    """Return intervals (K, 2) of the means of K columns (N, K), all from the same draws of patients."""
    found = studentise(by_patient(np.asarray(values, dtype=float), patients), seed, resamples)
    return np.full((values.shape[1], 2), np.nan) if found is None else found.intervals(level)


@dataclass(frozen=True)
class MarginTest:
    """Tests of a mean difference (first model − second, in the measure's own unit) against ± margin.

    Attributes:
        noninferiority_p: one-sided, of "worse by the margin or more".
        equivalence_p: the greater of both one-sided p-values (TOST).

    Both are None with fewer than `FEWEST_PATIENTS` patients.
    """

    noninferiority_p: float | None
    equivalence_p: float | None

    @property
    def noninferior(self) -> bool:
        """Whether the first model is shown to be worse by less than the margin, or better."""
        return self.noninferiority_p is not None and self.noninferiority_p < ONE_SIDED_ALPHA

    @property
    def equivalent(self) -> bool:
        """Whether the two are shown to differ by less than the margin in either direction."""
        return self.equivalence_p is not None and self.equivalence_p < ONE_SIDED_ALPHA


def margin_test(
    differences: Sequence[float],
    patients: Sequence[str],
    margin: float,
    higher_is_better: bool = True,
    seed: int = 0,
) -> MarginTest:
    """Test paired differences (first − second), one per film, against a margin.

    Each one-sided test is held against 0.025, so that it agrees with the 95 % interval of the same draws.
    Differences that are the same for every patient are judged by their signs.

    Args:
        differences: one per film, in the measure's unit.
        patients: of each film.
        margin: above 0, in the measure's unit; fixed before the results are seen.
        higher_is_better: whether more of the measure is better.
        seed: of the bootstrap.

    Raises:
        ValueError: the margin is not above 0, or differences and patients do not fit together.

    """
    found = studentise(by_patient(np.asarray(differences, dtype=float)[:, None], patients), seed)
    return against_margin(found, margin, higher_is_better)


def against_margin(found: Studentised | None, margin: float, higher_is_better: bool = True) -> MarginTest:
    """Test the first column of `found`, a mean difference, against ± margin; see `margin_test`."""
    if not (np.isfinite(margin) and margin > 0):
        raise ValueError("the margin is a number above 0")
    if found is None:
        return MarginTest(None, None)
    above, below = found.p_above(-margin), found.p_below(margin)
    return MarginTest(above if higher_is_better else below, max(above, below))
