import os

import pytest

from adaloraqat.datasets.audit.workers import in_order


def square(number: int) -> int:
    return number * number


def fragile(number: int) -> int:
    if number == 5:
        os._exit(3)  # as a decoder that crashes does
    return number


def test_results_come_in_the_order_of_the_tasks():
    assert list(in_order(square, range(50), processes=2)) == [number**2 for number in range(50)]
    assert list(in_order(square, [], processes=2)) == []


@pytest.mark.slow
def test_a_task_that_kills_its_process_costs_only_itself():
    results = list(in_order(fragile, range(12), processes=2, on_crash=lambda number: -number))
    assert results == [0, 1, 2, 3, 4, -5, 6, 7, 8, 9, 10, 11]
