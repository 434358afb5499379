"""One process with its own model, and the pipe that it takes tasks from: for a batch and for the server.

A pipe each: its end tells the parent which task died, and the parent's end tells the process to leave.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from adaloraqat.errors import AdaloraqatError

READY, DONE, REFUSED, DEAD = "ready", "done", "refused", "dead"
"""What a process says, or, the last, what is to be taken of its silence; see `WorkerProcess.receive`."""


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
