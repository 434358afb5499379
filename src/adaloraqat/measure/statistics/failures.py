"""How often something fails: a count of patients, and what it says of the rate (Clopper and Pearson 1934).

A failure that strikes one patient in twenty is absent from a third of all samples of twenty patients, and no
test of means on such a sample can see it. So failures are counted apart, and their rate has an exact binomial
bound. The patient is the unit here too: who has several films has failed where one of them has.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FailureRate:
    """Patients with at least one failed film.

    Attributes:
        count: how many.
        patients: of how many.
        upper: the rate that the count excludes at 95 % (one-sided): higher ones would give so few in less
            than 5 % of samples. Without a failure it is 1 − 0.05^(1/patients), the exact rule of three. None
            without patients.
        interval: the 95 % interval of the rate, 2.5 % at either end; None without patients.
    """

    count: int
    patients: int
    upper: float | None
    interval: tuple[float, float] | None


def failure_rate(failed: Sequence[bool], patients: Sequence[str]) -> FailureRate:
    """Count the patients with at least one failed film, and bound their rate.

    Args:
        failed: of each film, whether it failed.
        patients: of each film.

    Raises:
        ValueError: the two differ in length.

    """
    if len(failed) != len(patients):
        raise ValueError(f"{len(failed)} films but {len(patients)} patients")
    total = len(set(patients))
    count = len({patient for patient, bad in zip(patients, failed, strict=True) if bad})
    if total == 0:
        return FailureRate(0, 0, None, None)
    return FailureRate(
        count, total, _upper(count, total, 0.05), (_lower(count, total, 0.025), _upper(count, total, 0.025))
    )


def _lower(count: int, total: int, tail: float) -> float:
    from scipy import stats

    return 0.0 if count == 0 else float(stats.beta.ppf(tail, count, total - count + 1))


def _upper(count: int, total: int, tail: float) -> float:
    from scipy import stats

    return 1.0 if count == total else float(stats.beta.ppf(1 - tail, count + 1, total - count))
