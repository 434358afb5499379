import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import work

from adaloraqat.batch.workers import as_done
from adaloraqat.errors import AdaloraqatError, BundleError

posix = pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signals")


def never(task: int) -> int:
    raise AssertionError(task)


def test_each_task_once() -> None:
    assert sorted(as_done(work.doubling, range(20), 2, never)) == [2 * n for n in range(20)]


def test_no_tasks() -> None:
    assert list(as_done(work.doubling, [], 2, never)) == []


def test_a_refusal_is_passed_on() -> None:
    with pytest.raises(BundleError, match="no such model"):
        list(as_done(work.refusing, range(3), 1, never))


@posix
def test_a_death_costs_a_task_after_a_second_try(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    done = list(as_done(work.Deadly(notes), range(10), 2, lambda task: -task))
    assert sorted(done) == sorted([-7, *(2 * n for n in range(10) if n != 7)])
    tried = notes.read_text().split()
    assert tried.count("7") == 2
    assert tried.count("5") == 2
    assert len(tried) == 12


@posix
def test_processes_that_never_start_end_the_batch() -> None:
    with pytest.raises(AdaloraqatError, match="fewer --workers"):
        list(as_done(work.dying_at_start, range(3), 1, never))
