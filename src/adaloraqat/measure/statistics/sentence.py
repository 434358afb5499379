"""A comparison in plain words: what was tested, what it shows, and what it does not show."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaloraqat.measure.statistics.compare import Comparison

_ALPHA = 0.05


def sentence(comparison: "Comparison") -> str:
    """Return one paragraph for a table's foot or a report."""
    return " ".join((_tested(comparison), _difference(comparison), _margin(comparison))).strip()


def _tested(c: "Comparison") -> str:
    first, second = c.names
    films = "1 film" if c.n == 1 else f"{c.n} films"
    patients = "1 patient" if c.patients == 1 else f"{c.patients} patients"
    low, high = c.interval
    interval = f" [95 % interval {_signed(low)} to {_signed(high)}]" if low == low else ""
    return (
        f"{c.measure} of {first} minus {second} on the same {films} of {patients}: "
        f"{_signed(c.mean_difference)}{interval}."
    )


def _difference(c: "Comparison") -> str:
    if c.p is None:
        return "One patient is too few for any test."
    corrected = "" if c.holm_p is None else " after Holm's correction"
    test = f"(Wilcoxon signed-rank, {_p(c.p)}{corrected}, rank-biserial effect {_signed(c.effect_size, 2)})"
    if c.p >= _ALPHA:
        return f"A difference is not shown {test}, which does not prove that there is none."
    better = c.names[0] if c.effect_size > 0 else c.names[1]
    return f"A difference is shown {test}, in favour of {better}; it says nothing about its importance."


def _margin(c: "Comparison") -> str:
    if c.margin is None or c.noninferiority_p is None or c.equivalence_p is None:
        return ""
    first, second = c.names
    margin = f"{c.margin:g}"
    if c.equivalent:
        return (
            f"The two are equivalent within the margin of {margin} fixed beforehand "
            f"(two one-sided tests, {_p(c.equivalence_p)})."
        )
    if c.noninferior:
        return (
            f"It is shown that {first} is not inferior to {second}: worse, if at all, by less than the "
            f"margin of {margin} fixed beforehand ({_p(c.noninferiority_p)}); "
            f"that the two are equivalent is not shown ({_p(c.equivalence_p)})."
        )
    if _beyond(c):
        return f"The whole interval lies beyond the margin of {margin} fixed beforehand: {first} is inferior."
    return (
        f"That {first} is worse by less than the margin of {margin} fixed beforehand is not shown "
        f"({_p(c.noninferiority_p)}); that does not prove that it is worse by more."
    )


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _signed(value: float, digits: int = 4) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _beyond(c: "Comparison") -> bool:
    """Whether even the better end of the interval is worse by more than the margin."""
    low, high = c.interval
    return c.margin is not None and (high < -c.margin if c.higher_is_better else low > c.margin)
