"""Two models on the same films: is there a difference, and is the first proven not to be worse?

A high p of the signed-rank test is no proof of equality; that is what the margin is for. Both questions are
asked, and the sentence says what the answers do and do not show.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from adaloraqat.measure.statistics.bootstrap import bootstrap_mean
from adaloraqat.measure.statistics.equivalence import margin_test
from adaloraqat.measure.statistics.holm import holm
from adaloraqat.measure.statistics.patients import by_patient
from adaloraqat.measure.statistics.wilcoxon import signed_rank

ALPHA = 0.05
DEFAULT_MARGIN = 0.005
"""Half a point of Dice."""


@dataclass(frozen=True)
class Comparison:
    """The first model against the second; every difference is first − second, in the measure's unit.

    Attributes:
        n: films that both models were given.
        patients: patients that these films come from.
        mean_difference: mean over films.
        interval: 95 % bootstrap interval of it, patients drawn; NaN with fewer than two patients.
        wilcoxon_p: two-sided signed-rank test of the patients' mean differences; None with fewer than two.
        holm_p: the same, corrected for the family it stands in; None until `correct` has done so.
        effect_size: matched-pairs rank-biserial, in [-1, 1]; above 0 the first model is the BETTER one.
        margin: what was fixed beforehand, in the measure's unit; None where no margin was asked for.
        noninferior, noninferiority_p: the first is worse by less than the margin (one-sided 0.025).
        equivalent, equivalence_p: the two differ by less than the margin (TOST, each side 0.025).
        higher_is_better: of the measure.
        names: first and second model, as the sentence calls them.
        measure: as the sentence calls it.
    """

    n: int
    patients: int
    mean_difference: float
    interval: tuple[float, float]
    wilcoxon_p: float | None
    holm_p: float | None
    effect_size: float
    margin: float | None
    noninferior: bool | None
    noninferiority_p: float | None
    equivalent: bool | None
    equivalence_p: float | None
    higher_is_better: bool = True
    names: tuple[str, str] = ("the first model", "the second model")
    measure: str = "score"

    @property
    def p(self) -> float | None:
        """The corrected p-value where there is one, else the plain one."""
        return self.wilcoxon_p if self.holm_p is None else self.holm_p

    @property
    def sentence(self) -> str:
        """What was tested, what it shows and what it does not, in plain words."""
        from adaloraqat.measure.statistics.sentence import sentence

        return sentence(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, the sentence included; NaN becomes None."""
        values = asdict(self)
        del values["names"]
        low, high = self.interval
        values["interval"] = [low, high] if np.isfinite(low) else None
        return values | {"sentence": self.sentence}


def compare(
    a: Sequence[float],
    b: Sequence[float],
    patients: Sequence[str],
    margin: float | None = DEFAULT_MARGIN,
    seed: int = 0,
    higher_is_better: bool = True,
    names: tuple[str, str] = ("the first model", "the second model"),
    measure: str = "score",
) -> Comparison:
    """Compare model `a` (the one under test) with model `b` (the reference), film by film.

    Args:
        a: scores of the model under test, one a film.
        b: scores of the reference on the same films, in the same order.
        patients: of each film.
        margin: how much worse still counts as no worse, above 0, in the unit of the scores and fixed
            beforehand; None asks for no margin.
        seed: of the bootstrap.
        higher_is_better: of the measure; False for distances.
        names: of `a` and `b`, for the sentence.
        measure: its name, for the sentence.

    Raises:
        ValueError: lengths differ, there is no film, or a score is not finite.

    """
    if not len(a) == len(b) == len(patients) or not len(a):
        raise ValueError("a comparison needs the same films, at least one, of both models")
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    gathered = by_patient(differences[:, None], patients)
    count = len(gathered.films)
    ranks = signed_rank(list(gathered.means[:, 0]))
    tested = None if margin is None else margin_test(list(differences), patients, margin, higher_is_better)
    return Comparison(
        n=len(differences),
        patients=count,
        mean_difference=float(gathered.overall[0]),
        interval=bootstrap_mean(list(differences), patients, seed),
        wilcoxon_p=ranks.p if count > 1 else None,
        holm_p=None,
        effect_size=ranks.effect_size if higher_is_better else -ranks.effect_size,
        margin=margin,
        noninferior=tested.noninferior if tested else None,
        noninferiority_p=tested.noninferiority_p if tested else None,
        equivalent=tested.equivalent if tested else None,
        equivalence_p=tested.equivalence_p if tested else None,
        higher_is_better=higher_is_better,
        names=names,
        measure=measure,
    )


def correct(family: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons with their signed-rank p-values corrected together by Holm's method.

    Only the test for a difference is corrected. The tests against the margin are each claim's own: a table of
    several non-inferiority claims shows every p for the reader who wants to correct them too.
    """
    p_values = [comparison.wilcoxon_p for comparison in family]
    adjusted = iter(holm([p for p in p_values if p is not None]))
    return [
        comparison if p is None else replace(comparison, holm_p=next(adjusted))
        for comparison, p in zip(family, p_values, strict=True)
    ]
