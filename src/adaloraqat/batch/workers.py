"""Processes that work through tasks, each with its own model; one that dies costs its task, not the batch.

An executor of the standard library loses all tasks in progress with one process, does not say which of them
killed it, and leaves its processes behind when its own is killed. Here each process has a pipe of its own:
its end tells the parent which task died, and the parent's end tells the processes to leave. `WorkerProcess`
is one of them, for a batch and for the server; `as_done` lets several do a batch.
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from adaloraqat.errors import AdaloraqatError

READY, DONE, REFUSED, DEAD = "ready", "done", "refused", "dead"
"""What a process says, or, the last, what is to be taken of its silence; see `WorkerProcess.receive`."""
Task = TypeVar("Task")
Result = TypeVar("Result")
ATTEMPTS = 2
"""How often a task is tried whose process dies."""
STARTS = 3
"""How many processes may die in a row before their first task."""
PATIENCE = 10.0
"""Seconds that a process has to finish its film after a stop."""


@dataclass(eq=False)
class WorkerProcess:
    """A process, the parent's end of its pipe, and what it works on: the task and which attempt this is."""

    process: SpawnProcess
    connection: Connection
    task: tuple[Any, int] | None = None
    ready: bool = False

    @classmethod
    def start(
        cls, set_up: Callable[[], Callable[[Any], Any]], task: tuple[Any, int] | None = None
    ) -> "WorkerProcess":
        """Start a process; its first task, where there is one yet, waits in the pipe."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, set_up))
        process.start()
        theirs.close()  # so that its end is seen here
        worker = cls(process, ours)
        if task is not None:
            worker.give(task)
            worker.task = task  # also where it died at once: its end is seen at the next look
        return worker

    def give(self, task: tuple[Any, int]) -> bool:
        """Hand the next task over; False where the process has just died."""
        try:
            self.connection.send(task[0])
        except OSError:
            return False
        self.task = task
        return True

    def receive(self) -> tuple[str, Any]:
        """Return what the process says; that it is dead where it says nothing any more."""
        try:
            kind, content = self.connection.recv()
        except (EOFError, OSError):
            return DEAD, None
        return kind, content

    def stop(self, patience: float) -> None:
        """Wait for the process's end for some seconds, then end it."""
        self.connection.close()
        self.process.join(max(0.0, patience))
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


def _serve(connection: Connection, set_up: Callable[[], Callable[[Any], Any]]) -> None:
    """Do tasks until the parent closes the pipe, or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    try:
        try:
            work = set_up()
        except AdaloraqatError as error:
            connection.send((REFUSED, error))
            return
        connection.send((READY, None))
        while True:
            connection.send((DONE, work(connection.recv())))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def as_done(
    set_up: Callable[[], Callable[[Task], Result]],
    tasks: Iterable[Task],
    count: int,
    on_death: Callable[[Task], Result],
) -> Iterator[Result]:
    """Give the result of each task as it comes, from `count` processes.

    Args:
        set_up: called once in each process; returns what does a task. Like tasks and results it must pickle.
        tasks: taken from the iterable one by one, as processes become free.
        count: of processes; they are spawned, which works on every system and with threads about.
        on_death: the result of a task whose process died `ATTEMPTS` times; called here.

    Raises:
        AdaloraqatError: `set_up` refused, or no process comes to its first task.
    """
    source = iter(tasks)
    again: deque[tuple[Task, int]] = deque()
    workers: list[WorkerProcess] = []
    unstarted = 0

    def following() -> tuple[Task, int] | None:
        if again:
            return again.popleft()
        for task in source:
            return task, 1
        return None

    try:
        held = following()
        while held is not None or any(worker.task for worker in workers):
            while held is not None and len(workers) < count:
                workers.append(WorkerProcess.start(set_up, held))
                held = following()
            for ready in wait([worker.connection for worker in workers]):
                worker = next(one for one in workers if one.connection is ready)
                kind, content = worker.receive()
                if kind == REFUSED:
                    raise content
                if kind == READY:
                    unstarted = 0
                    worker.ready = True
                    continue
                lost, worker.task = worker.task, None
                if kind == DEAD:
                    workers.remove(worker)
                    worker.stop(0)
                    unstarted += not worker.ready
                    if unstarted >= STARTS:
                        raise AdaloraqatError(
                            "The worker processes died before their first film, perhaps for lack of "
                            "memory: try fewer --workers."
                        )
                    if lost is not None:
                        task, attempt = lost
                        if not worker.ready:  # the task is not to blame
                            again.append((task, attempt))
                        elif attempt < ATTEMPTS:
                            again.append((task, attempt + 1))
                        else:
                            yield on_death(task)
                    if held is None:
                        held = following()
                    continue
                if held is None:
                    held = following()
                if held is not None and worker.give(held):
                    held = following()
                yield content
    finally:
        deadline = time.monotonic() + PATIENCE
        for worker in workers:
            worker.connection.close()
        for worker in workers:
            worker.stop(deadline - time.monotonic())
