"""Two models on the same films: is there a difference, and is the first proven not to be worse?

A high p of the signed-rank test is not a proof of equality; that is what the margin is for. Films on which a
model failed are no part of the means, for a mean of scores and failures has no interval that keeps its word:
they are counted, and their rate is bounded. The sentence says what the answers do and do not show: every
clause is read off the numbers that stand beside it, and where the mean and the ranks favour different models,
or only one of them shows a difference, both are said.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from adaloraqat.measure.statistics.failures import FailureRate, failure_rate
from adaloraqat.measure.statistics.signed_rank import holm, signed_rank
from adaloraqat.measure.statistics.studentised import (
    FEWEST_PATIENTS,
    ONE_SIDED_ALPHA,
    against_margin,
    by_patient,
    studentise,
)

ALPHA = 0.05
DEFAULT_MARGIN = 0.005
"""Half a point of Dice."""
_DIGITS = 4
_MOST_DIGITS = 12


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
        a: scores of the model under test, one per film.
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


def sentence(comparison: Comparison) -> str:
    """Return one paragraph for a table's foot or a report."""
    parts = (_tested, _few, _difference, _margin, _failures)
    return " ".join(text for part in parts if (text := part(comparison)))


def _tested(c: Comparison) -> str:
    first, second = c.names
    if c.n == 0:
        return f"{c.measure} of {first} minus {second}: there is no film that neither failed on."
    low, high = c.interval
    digits = _enough_digits(c)
    interval = (
        f" [95 % interval {_signed(low, digits)} to {_signed(high, digits)}]" if _has_interval(c) else ""
    )
    return (
        f"{c.measure} of {first} minus {second} on the same {_count(c.n, 'film')} of "
        f"{_count(c.patients, 'patient')}: {_signed(c.mean_difference, digits)}{interval}."
    )


def _few(c: Comparison) -> str:
    if c.n and c.patients < FEWEST_PATIENTS:
        return (
            f"{_count(c.patients, 'patient')} {'is' if c.patients == 1 else 'are'} too few for an interval "
            f"or a verdict: at least {FEWEST_PATIENTS} are needed."
        )
    if c.n and not _has_interval(c):
        return "All patients have the same difference, which leaves no spread to make an interval from."
    return ""


def _difference(c: Comparison) -> str:
    if c.p is None or c.effect_size is None:
        return ""
    corrected = "" if c.holm_p is None else " after Holm's correction"
    test = f"(Wilcoxon signed-rank, {_p(c.p)}{corrected}, rank-biserial effect {_effect(c.effect_size)})"
    ranks, mean, shown = _better(c, c.effect_size), _by_mean(c), _by_interval(c)
    if c.p >= ALPHA:
        if shown:
            uncorrected = "" if c.holm_p is None else ", which is not corrected for several comparisons,"
            return (
                f"The ranks do not show a difference {test}, yet the whole interval of the mean{uncorrected} "
                f"lies in favour of {shown}: ranks and mean do not agree, and a difference is not settled."
            )
        apart = f" The mean favours {mean}, the ranks {ranks}." if ranks and mean and ranks != mean else ""
        return f"A difference is not shown {test}, which does not prove that there is none.{apart}"
    if shown and shown == ranks:
        return f"A difference is shown {test}, in favour of {ranks}; it says nothing about its importance."
    if shown:
        return (
            f"Ranks and mean disagree: the ranks show a difference {test} in favour of {ranks}, but the "
            f"whole interval of the mean lies in favour of {shown}."
        )
    itself = f" and the mean itself favours {mean}" if mean and mean != ranks else ""
    why = "its interval holds 0" if _has_interval(c) else "it has no interval"
    return (
        f"The ranks show a difference {test}, in favour of {ranks}; that the mean differs is not shown, "
        f"for {why}{itself}."
    )


def _margin(c: Comparison) -> str:
    if c.margin is None or c.noninferiority_p is None or c.equivalence_p is None:
        return ""
    first, second = c.names
    margin = f"{c.margin:g}"
    if c.failed[0]:
        return (
            f"{first} failed on {_count(c.failed[0], 'film')} that {second} did not: that it is not inferior "
            f"is not claimed, whatever the other films show."
        )
    if c.equivalent:
        return (
            f"The two are equivalent within the margin of {margin} fixed beforehand "
            f"(two one-sided tests, {_p(c.equivalence_p)})."
        )
    if c.noninferior:
        equivalence = f"is not shown ({_p(c.equivalence_p)})"
        if c.equivalence_p < ONE_SIDED_ALPHA:  # the test says so, on the films that both answered
            equivalence = f"is not claimed, because {second} failed where {first} did not"
        return (
            f"It is shown that {first} is not inferior to {second}: worse, if at all, by less than the "
            f"margin of {margin} fixed beforehand ({_p(c.noninferiority_p)}); "
            f"that the two are equivalent {equivalence}."
        )
    if _beyond(c):
        return f"The whole interval lies beyond the margin of {margin} fixed beforehand: {first} is inferior."
    return (
        f"That {first} is worse by less than the margin of {margin} fixed beforehand is not shown "
        f"({_p(c.noninferiority_p)}); that does not prove that it is worse by more."
    )


def _failures(c: Comparison) -> str:
    """Return the count of failures, and the rate that it excludes where there are patients enough."""
    found = c.failures
    if not found.patients or (c.large_loss is None and not any(c.failed)):
        return ""
    first, second = c.names
    lost = "" if c.large_loss is None else f" or was worse by {c.large_loss:g} or more"
    of = f"{found.count} of {_count(found.patients, 'patient')}"
    text = f"{first} failed{lost} on films of {of}"
    if c.patients >= FEWEST_PATIENTS and found.upper is not None and found.upper < 1:
        rate = f"{100 * found.upper:.1f} % of patients"
        text += f", which excludes, at 95 %, only that it does so in more than {rate}"
    if c.failed[1]:
        text += f"; {second} failed on {_count(c.failed[1], 'film')} that {first} did not"
    return text + "."


def _better(c: Comparison, value: float) -> str:
    """Return the model that a number speaks for, where above 0 speaks for the first; "" for 0."""
    return "" if _plain(value) == 0 else c.names[0] if value > 0 else c.names[1]


def _by_mean(c: Comparison) -> str:
    return _better(c, c.mean_difference if c.higher_is_better else -c.mean_difference)


def _by_interval(c: Comparison) -> str:
    """Return the model that the whole interval speaks for; "" where it holds 0, or there is none."""
    low, high = map(_plain, c.interval)
    return _by_mean(c) if _has_interval(c) and (low > 0 or high < 0) else ""


def _plain(value: float) -> float:
    """Return a number without the noise of adding floats, which is not a difference."""
    return round(value, _MOST_DIGITS)


def _has_interval(c: Comparison) -> bool:
    return math.isfinite(c.interval[0])


def _beyond(c: Comparison) -> bool:
    """Whether even the better end of the interval is worse by more than the margin."""
    low, high = c.interval
    return c.margin is not None and (high < -c.margin if c.higher_is_better else low > c.margin)


def _enough_digits(c: Comparison) -> int:
    """Return how many decimals show on which side of 0 and of ± margin every number lies."""
    values = [_plain(value) for value in (c.mean_difference, *c.interval) if math.isfinite(value)]
    bounds = [0.0] + ([] if c.margin is None else [c.margin, -c.margin])
    for digits in range(_DIGITS, _MOST_DIGITS):
        if all(
            value == bound
            or (round(value, digits) != bound and (round(value, digits) > bound) == (value > bound))
            for value in values
            for bound in bounds
        ):
            return digits
    return _MOST_DIGITS


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _p(value: float) -> str:
    """Return "p = 0.031"; more decimals where three would hide on which side of 0.05 or 0.025 it lies."""
    if value < 0.001:
        return "p < 0.001"
    digits = next((d for d in (3, 4, 5) if float(f"{value:.{d}f}") not in (0.05, 0.025)), 6)
    return f"p = {value:.{digits}f}"


def _effect(value: float) -> str:
    digits = next((d for d in range(2, _MOST_DIGITS) if value == 0 or round(value, d) != 0), _MOST_DIGITS)
    return _signed(value, digits)


def _signed(value: float, digits: int = _DIGITS) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")  # + 0.0: never −0
