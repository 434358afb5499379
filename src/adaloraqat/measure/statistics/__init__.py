"""Paired statistics of two models on the same films, with the patient as the unit of chance."""

from adaloraqat.measure.statistics.compare import ALPHA, DEFAULT_MARGIN, Comparison, compare, correct
from adaloraqat.measure.statistics.failures import FailureRate, failure_rate
from adaloraqat.measure.statistics.signed_rank import SignedRank, holm, signed_rank
from adaloraqat.measure.statistics.studentised import (
    FEWEST_PATIENTS,
    ONE_SIDED_ALPHA,
    MarginTest,
    bootstrap_mean,
    bootstrap_means,
    margin_test,
)

__all__ = [
    "ALPHA",
    "DEFAULT_MARGIN",
    "FEWEST_PATIENTS",
    "ONE_SIDED_ALPHA",
    "Comparison",
    "FailureRate",
    "MarginTest",
    "SignedRank",
    "bootstrap_mean",
    "bootstrap_means",
    "compare",
    "correct",
    "failure_rate",
    "holm",
    "margin_test",
    "signed_rank",
]
