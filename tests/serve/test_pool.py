"""The pool's promises, with processes that do as they are told."""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import pool_work

from adaloraqat.batch.workers import WorkerProcess
from adaloraqat.errors import AdaloraqatError, BundleError, FilmError
from adaloraqat.serve.film import DeadlinePassed, FilmRequest, PoisonFilm, QueueFull
from adaloraqat.serve.pool import WorkerPool

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signals")

MODEL = "lung-field-fast"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").touch()
    return tmp_path / "notes"


@pytest.fixture
def pool(notes: Path) -> Iterator[Callable[..., WorkerPool]]:
    """Start a pool of obedient processes."""
    started: list[WorkerPool] = []

    def start(workers: int = 1, queue: int = 4) -> WorkerPool:
        started.append(WorkerPool([MODEL], workers, 1, queue, set_up=pool_work.Obedient(notes)))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.close(0)


def film(order: str, name: str = "film") -> FilmRequest:
    return FilmRequest(order.encode(), name)


def test_a_full_queue_is_said_at_once_and_its_films_are_answered(pool: Callable[..., WorkerPool]) -> None:
    one = pool(queue=2)
    first = one.submit(film("sleep 0.6", "f0"), 20)
    until(lambda: one.in_work == 1)
    others = [one.submit(film("go", f"f{number}"), 20) for number in (1, 2)]
    asked = time.monotonic()
    with pytest.raises(QueueFull, match="queue is full"):
        one.submit(film("go", "f3"), 20)
    assert time.monotonic() - asked < 0.3
    assert [each.result(20).entry["path"] for each in (first, *others)] == ["f0", "f1", "f2"]


def test_a_film_that_nobody_waits_for_leaves_its_place(pool: Callable[..., WorkerPool], notes: Path) -> None:
    one = pool(queue=1)
    first = one.submit(film("sleep 0.6", "f0"), 20)
    until(lambda: one.in_work == 1)
    assert one.submit(film("go", "left"), 20).cancel()
    assert one.submit(film("go", "taken"), 20).result(20).entry["path"] == "taken"
    first.result(20)
    assert "left" not in notes.read_text()


def test_what_cannot_be_done_in_time_is_refused_before_it_waits(pool: Callable[..., WorkerPool]) -> None:
    one = pool(queue=50)
    one.submit(film("sleep 0.5"), 20).result(20)  # now the pool knows how long a film takes
    accepted = []

    def ask_on() -> None:
        for number in range(50):
            accepted.append(one.submit(film("sleep 0.5", f"f{number}"), 2))

    with pytest.raises(QueueFull, match="finished in time") as refused:
        ask_on()
    assert 0.5 < refused.value.retry_after_s < 4
    assert 1 <= len(accepted) <= 4
    assert all(each.result(20) for each in accepted)  # within their two seconds


def test_deadline_in_the_queue_and_in_work(pool: Callable[..., WorkerPool], notes: Path) -> None:
    one = pool()
    stuck = one.submit(film("sleep 60", "stuck"), 1)
    waits = one.submit(film("go", "waits"), 0.5)
    after = one.submit(film("go", "after"), 20)
    begun = time.monotonic()
    with pytest.raises(DeadlinePassed, match=r"0\.5 seconds"):
        waits.result(20)
    assert time.monotonic() - begun < 0.9
    with pytest.raises(DeadlinePassed):
        stuck.result(20)
    assert after.result(20).entry["path"] == "after"  # in a new process: the stuck one was ended
    assert one.deaths == 1
    assert "waits" not in notes.read_text()


def test_a_film_that_killed_two_is_not_tried_again(pool: Callable[..., WorkerPool], notes: Path) -> None:
    one = pool(workers=2, queue=20)
    films = [film("die", "bad"), *(film(f"sleep 0.{number}", f"f{number}") for number in range(6))]
    answers = [one.submit(each, 60) for each in films]
    with pytest.raises(PoisonFilm, match="crashed 2 times"):
        answers[0].result(60)
    assert [each.result(60).entry["path"] for each in answers[1:]] == [f"f{number}" for number in range(6)]
    with pytest.raises(PoisonFilm):
        one.submit(film("die", "again, under another name"), 60).result(1)
    assert notes.read_text().split().count("bad") == 2
    assert "again" not in notes.read_text()
    assert one.deaths == 2


def test_a_film_whose_process_was_killed_is_answered(pool: Callable[..., WorkerPool]) -> None:
    one = pool()
    answers = [one.submit(film("sleep 1", "f0"), 60), one.submit(film("go", "f1"), 60)]
    until(lambda: one.in_work == 1)
    os.kill(one.pids()[0], signal.SIGKILL)
    assert [each.result(60).entry["tries"] for each in answers] == [2, 1]
    assert one.submit(film("die-once", "f2"), 60).result(60).entry["tries"] == 2


def test_an_idle_process_that_dies_is_replaced(pool: Callable[..., WorkerPool]) -> None:
    one = pool()
    before = one.pids()
    os.kill(before[0], signal.SIGKILL)
    until(lambda: one.pids() not in ([], before))
    assert one.submit(film("go"), 20).result(20)


def test_close_drains_and_says_what_it_leaves(pool: Callable[..., WorkerPool]) -> None:
    one = pool()
    begun = one.submit(film("sleep 0.5"), 20)
    until(lambda: one.in_work == 1)
    waiting = one.submit(film("go"), 20)
    pids = one.pids()
    one.close(10)
    assert begun.result(0)
    assert waiting.result(0)
    with pytest.raises(QueueFull, match="stopping"):
        one.submit(film("go"), 20)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_close_without_patience(pool: Callable[..., WorkerPool]) -> None:
    one = pool()
    answers = [one.submit(film("sleep 60"), 90), one.submit(film("go"), 90)]
    until(lambda: one.in_work == 1)
    begun = time.monotonic()
    one.close(0.2)
    assert time.monotonic() - begun < 5
    for each in answers:
        with pytest.raises(QueueFull, match="stopping"):
            each.result(0)


def test_a_process_that_refuses_to_start() -> None:
    with pytest.raises(BundleError, match="no such model"):
        WorkerPool([MODEL], 1, 1, 4, set_up=pool_work.refusing).start()


def test_processes_that_die_at_once() -> None:
    with pytest.raises(AdaloraqatError, match="fewer --workers"):
        WorkerPool([MODEL], 3, 1, 4, set_up=pool_work.dying).start()


def test_processes_that_cannot_start_for_now(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory or processes are left when the pool starts; a moment later there are."""
    start, tries = WorkerProcess.start, []

    def scarce(set_up: Any) -> WorkerProcess:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return start(set_up)

    monkeypatch.setattr(WorkerProcess, "start", scarce)
    one = WorkerPool([MODEL], 1, 1, 4, set_up=pool_work.Obedient(notes))
    try:
        one.start()
        assert one.submit(film("go", "f0"), 20).result(20).entry["path"] == "f0"
    finally:
        one.close(0)
    monkeypatch.setattr(WorkerProcess, "start", lambda set_up: scarce_for_ever())
    with pytest.raises(AdaloraqatError, match="fewer"):
        WorkerPool([MODEL], 1, 1, 4, set_up=pool_work.Obedient(notes)).start()


def scarce_for_ever() -> WorkerProcess:
    raise OSError(errno.EAGAIN, "Resource temporarily unavailable")


def test_models_are_checked_before_anything_starts() -> None:
    with pytest.raises(BundleError, match="no model called"):
        WorkerPool(["no-such"], 1, 1, 4)
    with pytest.raises(AdaloraqatError, match="Two models"):
        WorkerPool([MODEL, MODEL], 1, 1, 4)
    with pytest.raises(FilmError, match="choose one of lung-field-fast"):
        WorkerPool([MODEL], 1, 1, 4).submit(FilmRequest(b"", model="lung-whole"), 1)


def until(true: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
