import numpy as np
import pytest
from scipy import stats

from adaloraqat.measure.statistics import failure_rate


@pytest.mark.parametrize("patients", [1, 8, 20, 171])
def test_without_a_failure_the_bound_is_the_exact_rule_of_three(patients):
    found = failure_rate([False] * patients, [str(i) for i in range(patients)])
    assert (found.count, found.patients) == (0, patients)
    assert found.upper == pytest.approx(1 - 0.05 ** (1 / patients))
    assert found.interval == (0.0, pytest.approx(1 - 0.025 ** (1 / patients)))


@pytest.mark.parametrize(("count", "patients"), [(0, 12), (1, 20), (7, 30), (20, 20)])
def test_agrees_with_scipys_exact_interval(count, patients):
    failed = [i < count for i in range(patients)]
    found = failure_rate(failed, [str(i) for i in range(patients)])
    exact = stats.binomtest(count, patients)
    assert found.interval == pytest.approx(tuple(exact.proportion_ci(0.95, "exact")))
    one_sided = stats.binomtest(count, patients, alternative="less").proportion_ci(0.95, "exact").high
    assert found.upper == pytest.approx(one_sided)


def test_a_patient_is_counted_once_however_many_films_failed():
    found = failure_rate([True, True, False, False, False], ["a", "a", "a", "b", "c"])
    assert (found.count, found.patients) == (1, 3)


def test_no_patients_and_what_does_not_fit():
    assert failure_rate([], []).upper is None
    with pytest.raises(ValueError, match="1 films but 2"):
        failure_rate([True], ["a", "b"])


def test_the_bound_holds_in_95_percent_of_samples():
    random = np.random.default_rng(0)
    for rate in (0.02, 0.05, 0.3):
        samples = random.random((400, 20)) < rate
        bounds = [failure_rate(list(row), [str(i) for i in range(20)]) for row in samples]
        assert np.mean([found.upper >= rate for found in bounds]) >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 400)
