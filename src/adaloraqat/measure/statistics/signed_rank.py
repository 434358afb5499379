"""Wilcoxon's signed-rank test of paired differences, its effect size, and Holm's correction of several."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DECIMALS = 12  # differences of equal scores may be 1e-17 apart; ties and zeros must be seen as such
_EXACT = 50  # up to here the exact distribution is used, as SciPy does where there is neither tie nor zero


@dataclass(frozen=True)
class SignedRank:
    """Result of a signed-rank test.

    Attributes:
        p: two-sided p-value; 1.0 where every difference is zero.
        effect_size: matched-pairs rank-biserial correlation in [-1, 1] (Kerby 2014): the share of rank sum in
            favour of the first minus the share against it; 0.0 where every difference is zero.
        n: number of differences, zeros included.
        zeros: how many of them are zero.
    """

    p: float
    effect_size: float
    n: int
    zeros: int


def signed_rank(differences: Sequence[float]) -> SignedRank:
    """Test whether paired differences lie symmetrically about zero.

    Zeros are handled as Pratt (1959) does: they take part in the ranking and are dropped after it, so that
    many films without any change do not make the few that change look weightier. Ties get the mean rank. The
    distribution is exact up to 50 differences, with ties and zeros too; beyond, SciPy's normal approximation.

    Raises:
        ValueError: there is no difference, or one is not finite.

    """
    from scipy import stats

    values = np.round(np.asarray(differences, dtype=float), _DECIMALS)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("the signed-rank test needs at least one difference, all of them finite")
    zeros = int(np.count_nonzero(values == 0))
    if zeros == len(values):
        return SignedRank(1.0, 0.0, len(values), zeros)
    ranks = stats.rankdata(np.abs(values))
    above, below = ranks[values > 0].sum(), ranks[values < 0].sum()
    if len(values) <= _EXACT:
        p = _exact(ranks[values != 0], above)
    else:
        p = float(stats.wilcoxon(values, zero_method="pratt", method="asymptotic").pvalue)
    return SignedRank(
        p=min(1.0, p),
        effect_size=float((above - below) / (above + below)),
        n=len(values),
        zeros=zeros,
    )


def _exact(ranks: NDArray[np.float64], above: float) -> float:
    """Return the share of all 2^n signs whose rank sum lies at least as far from its mean as `above`.

    Mean ranks are halves, so twice the ranks are whole numbers and the sums can be counted one by one.
    """
    doubled = np.rint(2 * ranks).astype(int)
    total = int(doubled.sum())
    share = np.zeros(total + 1)
    share[0] = 1.0
    for rank in doubled:  # each rank is in the sum or not, with equal chance
        moved = np.zeros_like(share)
        moved[rank:] = share[: total + 1 - rank]
        share = (share + moved) / 2
    distance = np.abs(2 * np.arange(total + 1) - total)
    return float(share[distance >= abs(4 * above - total) - 1e-6].sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm (1979), in the order given.

    The chance of any false finding among them stays at alpha. The k-th smallest of m is multiplied by
    m − k + 1, made no smaller than the one before it, and cut at 1. It holds
    whatever the dependence between the tests, which here share films and a reference.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    Raises:
        ValueError: a value is not a probability.

    """
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values are numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return [float(value) for value in adjusted]
