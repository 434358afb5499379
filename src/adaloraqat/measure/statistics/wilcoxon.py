"""Wilcoxon's signed-rank test of paired differences, and the matched-pairs rank-biserial correlation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_DECIMALS = 12  # differences of equal scores may be 1e-17 apart; ties and zeros must be seen as such
_ENUMERATED = 13  # up to here all 2^n signs are tried where ties or zeros forbid the tables


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
    distribution is exact up to 50 differences without ties and zeros and up to 13 with them, else normal.

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
    clean = zeros == 0 and len(np.unique(np.abs(values))) == len(values)
    method = (
        stats.PermutationMethod(n_resamples=2**_ENUMERATED)
        if not clean and len(values) <= _ENUMERATED
        else "auto"
    )
    result = stats.wilcoxon(values, zero_method="pratt", method=method)
    return SignedRank(
        p=float(min(1.0, result.pvalue)),
        effect_size=float((above - below) / (above + below)),
        n=len(values),
        zeros=zeros,
    )
