"""Non-inferiority and equivalence (TOST) of paired differences against a margin fixed beforehand.

The mean difference over films is tested by t, with the standard error of a mean of clusters: deviations are
summed within each patient before they are squared, so that many films of one patient count as one draw. With
one film a patient it is the ordinary paired t-test. Each of the one-sided tests is held against 0.025, so
that a conclusion stands when the 95 % interval lies on the right side of the margin.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adaloraqat.measure.statistics.patients import by_patient

ONE_SIDED_ALPHA = 0.025


@dataclass(frozen=True)
class MarginTest:
    """Tests of a mean difference (first model − second, in the measure's own unit) against ± margin.

    Attributes:
        noninferiority_p: one-sided, of "worse by the margin or more"; None with fewer than two patients.
        equivalence_p: the greater of both one-sided p-values (TOST); None with fewer than two patients.
        standard_error: of the mean difference, clustered by patient; None with fewer than two patients.
    """

    noninferiority_p: float | None
    equivalence_p: float | None
    standard_error: float | None

    @property
    def noninferior(self) -> bool:
        """Whether the first model is shown to be worse by less than the margin, or better."""
        return self.noninferiority_p is not None and self.noninferiority_p < ONE_SIDED_ALPHA

    @property
    def equivalent(self) -> bool:
        """Whether the two are shown to differ by less than the margin in either direction."""
        return self.equivalence_p is not None and self.equivalence_p < ONE_SIDED_ALPHA


def margin_test(
    differences: Sequence[float], patients: Sequence[str], margin: float, higher_is_better: bool = True
) -> MarginTest:
    """Test paired differences (first − second), one a film, against a margin.

    Differences that are the same for every patient have no spread for t to use. They are judged by their
    signs alone: that M of M patients lie on one side of the margin has the chance 0.5^M, so fewer than six
    patients prove nothing.

    Args:
        differences: one a film, in the measure's unit.
        patients: of each film.
        margin: above 0, in the measure's unit; fixed before the results are seen.
        higher_is_better: whether more of the measure is better.

    Raises:
        ValueError: the margin is not above 0, or differences and patients do not fit together.

    """
    if not (np.isfinite(margin) and margin > 0):
        raise ValueError("the margin is a number above 0")
    values = np.asarray(differences, dtype=float)
    gathered = by_patient((values if higher_is_better else -values)[:, None], patients)
    count = len(gathered.films)
    if count < 2:
        return MarginTest(None, None, None)
    mean = float(gathered.overall[0])
    deviations = gathered.sums[:, 0] - mean * gathered.films  # (M,) each patient's, summed over films
    error = float(np.sqrt(count / (count - 1) * (deviations**2).sum()) / gathered.films.sum())
    not_worse = _one_sided(mean + margin, error, count)
    not_better = _one_sided(margin - mean, error, count)
    return MarginTest(not_worse, max(not_worse, not_better), error)


def _one_sided(distance: float, error: float, patients: int) -> float:
    """Return p of a mean that lies `distance` inside the margin."""
    from scipy import stats

    if error < 1e-12:  # no spread but rounding
        return 0.5**patients if distance > 0 else 1.0
    return float(stats.t.sf(distance / error, patients - 1))
