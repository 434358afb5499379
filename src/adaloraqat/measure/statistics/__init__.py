"""Paired statistics of two models on the same films, with the patient as the unit of chance."""

from adaloraqat.measure.statistics.bootstrap import bootstrap_mean, bootstrap_means
from adaloraqat.measure.statistics.compare import Comparison, compare, correct
from adaloraqat.measure.statistics.equivalence import MarginTest, margin_test
from adaloraqat.measure.statistics.holm import holm
from adaloraqat.measure.statistics.wilcoxon import SignedRank, signed_rank

__all__ = [
    "Comparison",
    "MarginTest",
    "SignedRank",
    "bootstrap_mean",
    "bootstrap_means",
    "compare",
    "correct",
    "holm",
    "margin_test",
    "signed_rank",
]
