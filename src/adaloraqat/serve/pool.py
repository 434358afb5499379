"""Processes that read and segment films for a server: a bounded queue, deadlines, and films that kill.

A thread tends each process: it takes a film from the queue, hands it over, waits for the answer, and starts
another process where this one died. What a client may not wait for is said in time: `QueueFull` at once, and
`DeadlinePassed` at the deadline.
"""

import shutil
import tempfile
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from adaloraqat.batch.workers import ATTEMPTS, DEAD, READY, REFUSED, STARTS, WorkerProcess
from adaloraqat.bundle import Bundle, load_bundle
from adaloraqat.errors import AdaloraqatError, FilmError
from adaloraqat.radiograph.film import MAX_PIXELS
from adaloraqat.serve.film import (
    DeadlinePassed,
    FilmAnswer,
    FilmRequest,
    PoisonFilm,
    QueueFull,
    Task,
    TooLarge,
    WorkerDefect,
    poison,
)
from adaloraqat.serve.film_work import SetUp, scratch_of

__all__ = [
    "DeadlinePassed",
    "FilmAnswer",
    "FilmRequest",
    "PoisonFilm",
    "QueueFull",
    "TooLarge",
    "WorkerDefect",
    "WorkerPool",
]

_LOOK = 0.5
"""Seconds between looks at an idle process, and at what may have been told to stop."""
_START_S = 120.0
"""Seconds that a process has to load its models."""
_SLOWEST_RESTART_S = 30.0
_REMEMBERED = 1024
"""Films whose deaths are remembered, by SHA-256."""
_WEIGHT = 0.2
"""Of the latest film in the running mean of a film's time."""


class WorkerPool:
    """Worker processes, each with every model, and the queue before them.

    A film whose process died is tried once more in another; one that ended two gets `PoisonFilm`, now and
    whenever it comes again. Films of other clients are still answered.

    Attributes:
        bundles: the models by name; the first is the default.
        deaths: processes that ended by themselves or at a film that took too long.
    """

    def __init__(
        self,
        models: Sequence[str],
        workers: int,
        threads: int | None,
        queue: int,
        engine: str = "onnxruntime",
        max_pixels: int = MAX_PIXELS,
        set_up: Callable[[], Callable[[FilmRequest], Any]] | None = None,
    ) -> None:
        """Check the models; start nothing.

        Args:
            models: names of installed models, or paths of bundles.
            workers: how many processes.
            threads: of each process; None: the engine decides.
            queue: how many films may wait, beside those in progress.
            engine: see `bundle.engine.ENGINES`.
            max_pixels: films with more are refused before they are decoded.
            set_up: what a process does instead of loading the models; see `batch.workers.as_done`.

        Raises:
            BundleError: a model cannot be used.
            AdaloraqatError: two models have one name.
        """
        self.bundles: dict[str, Bundle] = {}
        for model in models:
            bundle = load_bundle(model)
            if bundle.name in self.bundles:
                raise AdaloraqatError(f"Two models are called {bundle.name}: serve one of them.")
            self.bundles[bundle.name] = bundle
        folders = {name: bundle.folder.absolute() for name, bundle in self.bundles.items()}
        self._scratch: Path | None = None  # where films lie while in progress
        self._make_set_up = partial(SetUp, folders, engine, threads, max_pixels) if set_up is None else None
        self._set_up = set_up
        self.workers = workers
        self.queue = queue
        self.deaths = 0
        self._waiting: deque[Task] = deque()
        self._in_work = 0
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._processes: dict[int, WorkerProcess] = {}  # by thread
        self._killed: OrderedDict[str, int] = OrderedDict()  # processes that a film ended
        self._seconds: float | None = None  # running mean of a film
        self._unstarted = 0
        self._refusal: AdaloraqatError | None = None
        self._draining = self._stopped = False

    def start(self) -> None:
        """Start the processes, and return when the first of them is ready.

        Raises:
            AdaloraqatError: a process refused to start, or none comes to be ready.
        """
        self._scratch = Path(tempfile.mkdtemp(prefix="adaloraqat-serve-"))
        if self._make_set_up is not None:
            self._set_up = self._make_set_up(self._scratch)
        for number in range(self.workers):
            self._threads.append(threading.Thread(target=self._tend, args=(number,), daemon=True))
        self._threads.append(threading.Thread(target=self._watch, daemon=True))
        for thread in self._threads:
            thread.start()
        with self._changed:
            self._changed.wait_for(
                lambda: self.ready_workers or self._refusal or self._unstarted >= max(STARTS, self.workers)
            )
            if self.ready_workers:
                return
            refusal = self._refusal
        self.close(0)
        raise refusal or AdaloraqatError(
            "The worker processes died before their first film, perhaps for lack of memory: try fewer "
            "--workers."
        )

    @property
    def ready_workers(self) -> int:
        """How many processes could take a film, or have one."""
        return sum(process.ready for process in list(self._processes.values()))

    @property
    def waiting(self) -> int:
        """How many films wait for a process."""
        return len(self._waiting)

    @property
    def in_work(self) -> int:
        """How many films are in progress."""
        return self._in_work

    def pids(self) -> list[int]:
        """Return the numbers of the processes that are ready."""
        found = [process for process in list(self._processes.values()) if process.ready]
        return [process.process.pid for process in found if process.process.pid is not None]

    def check_room(self, deadline_s: float) -> None:
        """Refuse where a film could not be taken now; a look that holds nothing.

        Raises:
            QueueFull: as `submit`.
        """
        with self._changed:
            self._check_room(deadline_s)

    def submit(self, request: FilmRequest, deadline_s: float) -> "Future[FilmAnswer]":
        """Take a film, to be answered within `deadline_s` seconds.

        The future fails with FilmError (the sentence says why), TooLarge, PoisonFilm, DeadlinePassed,
        QueueFull (the pool was closed), or WorkerDefect. A film that waits can be cancelled.

        Raises:
            QueueFull: too many films wait, or this one would not be done in time.
            FilmError: no such model.
        """
        if request.model is not None and request.model not in self.bundles:
            names = ", ".join(self.bundles)
            raise FilmError(f"No model called {request.model!r} is served here: choose one of {names}.")
        task = Task(request, time.monotonic() + deadline_s, deadline_s)
        if self._killed and self._killed.get(task.sha256(), 0) >= ATTEMPTS:
            task.fail(poison())
            return task.future
        with self._changed:
            self._check_room(deadline_s)
            self._waiting.append(task)
            self._changed.notify_all()
        return task.future

    def close(self, drain_s: float) -> None:
        """Take no more films, give those that are here `drain_s` seconds, then end the processes."""
        with self._changed:
            self._draining = True
            self._changed.wait_for(lambda: not self._waiting and not self._in_work, drain_s)
            self._stopped = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for task in left:
            task.fail(QueueFull("The server is stopping: try again when it is back."))
        for thread in self._threads:
            thread.join()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _check_room(self, deadline_s: float) -> None:
        if self._draining:
            raise QueueFull("The server is stopping: try again when it is back.")
        if len(self._waiting) >= self.queue:
            self._waiting = deque(task for task in self._waiting if not task.future.cancelled())
        mean = self._seconds or 0.0
        left = (len(self._waiting) + 1) * mean / max(1, self.ready_workers)  # until this one would be begun
        if len(self._waiting) >= self.queue:
            raise QueueFull("The queue is full: try again in a moment.", left)
        busy = self._waiting or self._in_work >= self.workers  # an idle process proves a wrong mean wrong
        if busy and left + mean > deadline_s:
            raise QueueFull(
                ("Too many films are waiting for this one to be finished in time: try again later."), left
            )

    def _watch(self) -> None:
        """Fail films at their deadline while they wait."""
        while not self._stopped:
            with self._changed:
                now = time.monotonic()
                late = [task for task in self._waiting if task.deadline <= now]
                if late:
                    self._waiting = deque(task for task in self._waiting if task.deadline > now)
                else:
                    first = min((task.deadline for task in self._waiting), default=now + _LOOK)
                    self._changed.wait(min(_LOOK, first - now))
            for task in late:  # not under the lock: what hears of it may ask the pool again
                task.fail(task.late())

    def _tend(self, number: int) -> None:
        """Keep a process at work until the pool is closed."""
        assert self._scratch is not None
        assert self._set_up is not None
        pause = 0.0
        while not self._stopped:
            try:
                worker = WorkerProcess.start(self._set_up)
            except OSError:  # no memory, processes or files left for now
                with self._changed:
                    self._unstarted += 1
                    self._changed.notify_all()
                    pause = min(_SLOWEST_RESTART_S, 2 * pause or 1.0)
                    self._changed.wait_for(lambda: self._stopped, pause)
                continue
            try:
                if self._begun(worker):
                    pause = 0.0
                    with self._changed:
                        worker.ready = True
                        self._processes[number] = worker
                        self._changed.notify_all()
                    self._use(worker)
                else:
                    pause = min(_SLOWEST_RESTART_S, 2 * pause or 1.0)
            finally:
                with self._changed:
                    self._processes.pop(number, None)
                    self._changed.notify_all()
                pid = worker.process.pid
                worker.stop(0)
                if pid is not None:  # the film that it was working on
                    shutil.rmtree(scratch_of(self._scratch, pid), ignore_errors=True)
            with self._changed:
                self._changed.wait_for(lambda: self._stopped, pause)

    def _begun(self, worker: WorkerProcess) -> bool:
        """Wait until a process has loaded its models; False where it died, refused or took too long."""
        end = time.monotonic() + _START_S
        while not self._stopped and time.monotonic() < end:
            if not worker.connection.poll(_LOOK):
                continue
            kind, content = worker.receive()
            if kind == READY:
                return True
            with self._changed:
                if kind == REFUSED:
                    self._refusal = content
                break
        with self._changed:
            self._unstarted += 1
            self._changed.notify_all()
        return False

    def _use(self, worker: WorkerProcess) -> None:
        """Give a process one film after the other, until it has died or the pool is closed."""
        while True:
            task = self._next(worker)
            if task is None:
                return
            try:
                alive = self._done(worker, task)
            finally:
                with self._changed:
                    self._in_work -= 1
                    self._changed.notify_all()
            if not alive:
                return

    def _next(self, worker: WorkerProcess) -> Task | None:
        """Return the next film that somebody waits for; None where the process died or the pool closed."""
        with self._changed:
            while not self._stopped:
                while self._waiting:
                    task = self._waiting.popleft()
                    if task.claim():
                        self._in_work += 1
                        return task
                self._changed.wait(_LOOK)
                if worker.connection.poll():  # an idle process says nothing but its end
                    self.deaths += 1
                    return None
        return None

    def _done(self, worker: WorkerProcess, task: Task) -> bool:
        """Have a process do a film; False where it died of it, or had to be ended."""
        if not worker.give((task.request, 1)):  # it was dead before: the film is not to blame
            self.deaths += 1
            with self._changed:
                self._waiting.appendleft(task)
            return False
        begun = time.monotonic()
        while not worker.connection.poll(min(_LOOK, max(0.0, task.deadline - time.monotonic()) or _LOOK)):
            now = time.monotonic()
            if now >= task.deadline:
                task.fail(task.late())
            if self._stopped or now - begun >= task.allowed:
                break  # nobody waits for it, and the next film must not either
        else:
            kind, content = worker.receive()
            if kind != DEAD:
                took = time.monotonic() - begun
                mean = self._seconds
                self._seconds = took if mean is None else mean + _WEIGHT * (took - mean)
                if self._killed:  # a film that is answered is not to blame for what died before
                    self._killed.pop(task.sha256(), None)
                task.settle(content)
                return True
        self._count_death(task)
        return False

    def _count_death(self, task: Task) -> None:
        """Note which film ended a process, and try it again where it is the first time."""
        if self._stopped:
            task.fail(QueueFull("The server is stopping: try again when it is back."))
            return
        key = task.sha256()
        with self._changed:
            self.deaths += 1
            count = self._killed[key] = self._killed.pop(key, 0) + 1
            while len(self._killed) > _REMEMBERED:
                self._killed.popitem(last=False)
            again = count < ATTEMPTS and not task.future.done()
            if again:
                self._waiting.appendleft(task)
                self._changed.notify_all()
        if not again:
            task.fail(poison())
