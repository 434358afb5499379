"""For all tests: nothing is written outside temporary folders."""

import os
import sys

import pytest

os.environ["ADALORAQAT_CACHE"] = "off"  # before any test, and for every process that a test starts


@pytest.fixture(autouse=True)
def _subnormal_numbers() -> None:
    """Undo what a training in an earlier test set for this process: Hypothesis draws subnormal floats."""
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
