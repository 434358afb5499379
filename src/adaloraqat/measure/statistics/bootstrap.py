"""Bootstrap intervals of means, drawing whole patients.

Each resample draws as many patients as there are, with replacement, and takes all films of each; the mean
is over the films drawn. The interval is BCa (Efron 1987: corrected for bias and for skewness, which scores
near 1 have), its levels widened as Hesterberg (2015) does for few patients, because percentiles alone are
too narrow by the factor of t against normal and of n against n − 1.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adaloraqat.measure.statistics.patients import ByPatient, Floats, by_patient

RESAMPLES = 4000
_BLOCK = 4_000_000  # weights held at a time


def bootstrap_mean(
    values: Sequence[float],
    patients: Sequence[str],
    seed: int = 0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Return the interval (low, high) of the mean over films, in the unit of `values`.

    Args:
        values: one a film.
        patients: of each film.
        seed: the same seed gives the same interval.
        level: confidence, between 0 and 1.
        resamples: number of bootstrap samples.

    Returns:
        (low, high); (NaN, NaN) with fewer than two patients, for one patient tells nothing about others.

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
    gathered = by_patient(np.asarray(values, dtype=float), patients)
    if len(gathered.films) < 2:
        return np.full((values.shape[1], 2), np.nan)
    drawn = _resampled_means(gathered, seed, resamples)  # (R, K)
    return np.array([_interval(drawn[:, k], gathered, k, level) for k in range(drawn.shape[1])])


def _resampled_means(gathered: ByPatient, seed: int, resamples: int) -> Floats:
    random = np.random.default_rng(seed)
    count = len(gathered.films)
    rows = max(1, _BLOCK // count)
    means = []
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = random.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(
            size, count
        )  # times each is drawn
        means.append((weights @ gathered.sums) / (weights @ gathered.films)[:, None])
    return np.concatenate(means)


def _interval(drawn: Floats, gathered: ByPatient, column: int, level: float) -> tuple[float, float]:
    """BCa interval of one column from its resampled means (R,)."""
    from scipy import stats

    mean = float(gathered.overall[column])
    if np.ptp(drawn) < 1e-12 * max(1.0, abs(mean)):
        return mean, mean
    below = (np.count_nonzero(drawn < mean) + 0.5 * np.count_nonzero(drawn == mean)) / len(drawn)
    edge = 0.5 / len(drawn)
    bias = stats.norm.ppf(np.clip(below, edge, 1 - edge))
    skew = _acceleration(gathered, column)
    count = len(gathered.films)
    wide = np.sqrt(count / (count - 1)) * stats.t.ppf(0.5 + level / 2, count - 1)
    shifted = bias + np.array([-wide, wide])
    scale = np.maximum(1 - skew * shifted, 1e-3)  # of extreme skewness the level passes 0 or 1: take the ends
    low, high = np.quantile(drawn, stats.norm.cdf(bias + shifted / scale))
    return float(low), float(high)


def _acceleration(gathered: ByPatient, column: int) -> float:
    """Jackknife over patients of the mean over films."""
    sums, films = gathered.sums[:, column], gathered.films
    left_out = (sums.sum() - sums) / (films.sum() - films)
    deviations = left_out.mean() - left_out
    spread = float((deviations**2).sum())
    return float((deviations**3).sum() / (6 * spread**1.5)) if spread > 0 else 0.0
