"""A comparison in plain words: what was tested, what it shows, and what it does not show.

Every clause is read off the numbers that stand beside it. Where the mean and the ranks favour different
models, or only one of them shows a difference, both are said.
"""

import math
from typing import TYPE_CHECKING

from adaloraqat.measure.statistics.studentised import FEWEST_PATIENTS, ONE_SIDED_ALPHA

if TYPE_CHECKING:
    from adaloraqat.measure.statistics.compare import Comparison

_ALPHA = 0.05
_DIGITS = 4
_MOST_DIGITS = 12


def sentence(comparison: "Comparison") -> str:
    """Return one paragraph for a table's foot or a report."""
    parts = (_tested, _few, _difference, _margin, _failures)
    return " ".join(text for part in parts if (text := part(comparison)))


def _tested(c: "Comparison") -> str:
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


def _few(c: "Comparison") -> str:
    if c.n and c.patients < FEWEST_PATIENTS:
        return (
            f"{_count(c.patients, 'patient')} {'is' if c.patients == 1 else 'are'} too few for an interval "
            f"or a verdict: at least {FEWEST_PATIENTS} are needed."
        )
    if c.n and not _has_interval(c):
        return "All patients have the same difference, which leaves no spread to make an interval from."
    return ""


def _difference(c: "Comparison") -> str:
    if c.p is None or c.effect_size is None:
        return ""
    corrected = "" if c.holm_p is None else " after Holm's correction"
    test = f"(Wilcoxon signed-rank, {_p(c.p)}{corrected}, rank-biserial effect {_effect(c.effect_size)})"
    ranks, mean, shown = _better(c, c.effect_size), _by_mean(c), _by_interval(c)
    if c.p >= _ALPHA:
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


def _margin(c: "Comparison") -> str:
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


def _failures(c: "Comparison") -> str:
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


def _better(c: "Comparison", value: float) -> str:
    """Return the model that a number speaks for, where above 0 speaks for the first; "" for 0."""
    return "" if _plain(value) == 0 else c.names[0] if value > 0 else c.names[1]


def _by_mean(c: "Comparison") -> str:
    return _better(c, c.mean_difference if c.higher_is_better else -c.mean_difference)


def _by_interval(c: "Comparison") -> str:
    """Return the model that the whole interval speaks for; "" where it holds 0, or there is none."""
    low, high = map(_plain, c.interval)
    return _by_mean(c) if _has_interval(c) and (low > 0 or high < 0) else ""


def _plain(value: float) -> float:
    """Return a number without the noise of adding floats, which is not a difference."""
    return round(value, _MOST_DIGITS)


def _has_interval(c: "Comparison") -> bool:
    return math.isfinite(c.interval[0])


def _beyond(c: "Comparison") -> bool:
    """Whether even the better end of the interval is worse by more than the margin."""
    low, high = c.interval
    return c.margin is not None and (high < -c.margin if c.higher_is_better else low > c.margin)


def _enough_digits(c: "Comparison") -> int:
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
