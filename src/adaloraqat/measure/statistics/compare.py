"""Two models on the same films: is there a difference, and is the first proven not to be worse?

A high p of the signed-rank test is not a proof of equality; that is what the margin is for. Films on which a
model failed are no part of the means, for a mean of scores and failures has no interval that keeps its word:
they are counted, and their rate is bounded. The sentence says what the answers do and do not show.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from adaloraqat.measure.statistics.failures import FailureRate, failure_rate
from adaloraqat.measure.statistics.signed_rank import holm, signed_rank
from adaloraqat.measure.statistics.studentised import against_margin, by_patient, studentise

ALPHA = 0.05
DEFAULT_MARGIN = 0.005
"""Half a point of Dice."""


@dataclass(frozen=True)
class Comparison:
    """The first model against the second; every difference is first − second, in the measure's unit.

    With fewer than `FEWEST_PATIENTS` patients there is no interval, no p, no effect size and no verdict.

    Attributes:
        n: films on which neither model failed; means, interval and tests are of these.
        patients: patients that these films come from.
        mean_difference: mean over these films; NaN without any.
        interval: 95 % interval of it, patients drawn; NaN where there is none.
        wilcoxon_p: two-sided signed-rank test of the patients' mean differences.
        holm_p: the same, corrected for the family it stands in; None until `correct` has done so.
        effect_size: matched-pairs rank-biserial, in [-1, 1]; above 0 the first model is the BETTER one.
        margin: what was fixed beforehand, in the measure's unit; None where no margin was asked for.
        noninferior, noninferiority_p: the first is worse by less than the margin (one-sided 0.025). Where it
            failed on a film that the second did not, `noninferior` and `equivalent` are False whatever p is.
        equivalent, equivalence_p: the two differ by less than the margin (TOST, each side 0.025).
        failed: films that the first alone, and that the second alone, failed on.
        large_loss: by how much a film must be worse to count as lost; None where losses are not counted.
        failures: patients of whom the first model failed on a film, or lost `large_loss`; among those of
            films that the second did not fail on.
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
    effect_size: float | None
    margin: float | None
    noninferior: bool | None
    noninferiority_p: float | None
    equivalent: bool | None
    equivalence_p: float | None
    failed: tuple[int, int]
    large_loss: float | None
    failures: FailureRate
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
        from adaloraqat.measure.statistics.sentences import sentence

        return sentence(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, the sentence included; NaN becomes None."""
        values = asdict(self)
        del values["names"]
        low, high = self.interval
        values["interval"] = [low, high] if math.isfinite(low) else None
        if not math.isfinite(self.mean_difference):
            values["mean_difference"] = None
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
    failed: tuple[Sequence[bool], Sequence[bool]] | None = None,
    large_loss: float | None = None,
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
        failed: of `a` and of `b`, on which films each failed; their scores there are not used.
        large_loss: count the films on which `a` is worse than `b` by this much or more with its failures;
            they stay in the means.

    Raises:
        ValueError: lengths differ, there is no film, or a score is not finite.

    """
    bad_a, bad_b = (
        np.zeros((2, len(a)), dtype=bool) if failed is None else (np.asarray(f, dtype=bool) for f in failed)
    )
    if not len(a) == len(b) == len(patients) == len(bad_a) == len(bad_b) or not len(a):
        raise ValueError("a comparison needs the same films, at least one, of both models")
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    worse = -differences if higher_is_better else differences
    lost = bad_a if large_loss is None else bad_a | (worse >= large_loss - 1e-12)
    names_of = np.asarray(patients, dtype=str)
    alone = (int((bad_a & ~bad_b).sum()), int((bad_b & ~bad_a).sum()))
    kept = ~(bad_a | bad_b)
    gathered = by_patient(differences[kept, None], list(names_of[kept]))
    found = studentise(gathered, seed)
    ranks = None if found is None else signed_rank(list(gathered.means[:, 0]))
    tested = None if margin is None or found is None else against_margin(found, margin, higher_is_better)
    low, high = (math.nan, math.nan) if found is None else found.intervals()[0]
    sign = 1 if higher_is_better else -1
    return Comparison(
        n=int(kept.sum()),
        patients=len(gathered.films),
        mean_difference=float(gathered.overall[0]) if kept.any() else math.nan,
        interval=(float(low), float(high)),
        wilcoxon_p=ranks.p if ranks else None,
        holm_p=None,
        effect_size=sign * ranks.effect_size if ranks else None,
        margin=margin,
        noninferior=tested.noninferior and not alone[0] if tested else None,
        noninferiority_p=tested.noninferiority_p if tested else None,
        equivalent=tested.equivalent and not any(alone) if tested else None,
        equivalence_p=tested.equivalence_p if tested else None,
        failed=alone,
        large_loss=large_loss,
        failures=failure_rate(list(lost[~bad_b]), list(names_of[~bad_b])),
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
