"""Work through films in several processes: results in order, memory flat, a crash costs one film."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_TOGETHER = 8  # tasks a worker gets at once
_AHEAD = 4  # such portions per worker that may wait or lie finished


def available_cores() -> int:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def in_order(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    processes: int = 1,
    on_crash: Callable[[Task], Result] | None = None,
) -> Iterator[Result]:
    """Give `function(task)` for each task, in their order.

    With more than one process, `function` and tasks must be picklable: processes are spawned, which works on
    every system and with threads about. A task that kills its process gives
    `on_crash(task)`, or fails if there is none.
    """
    if processes <= 1:
        yield from map(function, tasks)
        return
    done = 0
    while done < len(tasks):
        try:
            for results in _pooled(function, tasks, done, processes):
                done += len(results)
                yield from results
        except BrokenProcessPool:
            if on_crash is None:
                raise
            # the first portion without a result may hold the culprit, or lie beside it: take it one by one
            for task in tasks[done : done + _TOGETHER]:
                yield _alone(function, task, on_crash)
                done += 1


def _pooled(
    function: Callable[[Task], Result], tasks: Sequence[Task], start: int, processes: int
) -> Iterator[list[Result]]:
    waiting: deque[Future[list[Result]]] = deque()
    pool = _pool(processes)
    try:
        for place in range(start, len(tasks), _TOGETHER):
            waiting.append(pool.submit(_each, function, tasks[place : place + _TOGETHER]))
            if len(waiting) > _AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # after Ctrl-C too: at most a few films are finished


def _alone(function: Callable[[Task], Result], task: Task, on_crash: Callable[[Task], Result]) -> Result:
    pool = _pool(1)
    try:
        return pool.submit(function, task).result()
    except BrokenProcessPool:
        return on_crash(task)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_leave_ctrl_c_to_the_parent
    )


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _each(function: Callable[[Task], Result], portion: Sequence[Task]) -> list[Result]:
    return [function(task) for task in portion]
