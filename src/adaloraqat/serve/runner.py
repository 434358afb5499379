"""The thread that takes waiting films to the worker pool and records what comes of each."""

import errno
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

from adaloraqat.errors import AdaloraqatError
from adaloraqat.serve.film import DeadlinePassed, FilmAnswer, FilmRequest, QueueFull, WorkerDefect
from adaloraqat.serve.job import WaitingFilm
from adaloraqat.serve.pool import WorkerPool
from adaloraqat.serve.store import Store

log = logging.getLogger("adaloraqat")

DEADLINE_S = 600.0
"""Seconds that a film has from the pool's queue to its result; twice."""
_LOOK = 1.0
_SWEEP = 20.0
_PAUSE = 5.0
_MOMENTARY = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What keeps any file from being read for now."""

_Done = tuple[WaitingFilm, "Future[FilmAnswer]"]


class Runner:
    """Works through the store's films; no more are in the pool at a time than it has processes.

    Attributes:
        done: films with a result, since the start.
        failed: films without, likewise.
    """

    def __init__(self, store: Store, pool: WorkerPool, deadline_s: float = DEADLINE_S) -> None:
        self.done = self.failed = 0
        self._store = store
        self._pool = pool
        self._deadline = deadline_s
        self._events: queue.SimpleQueue[_Done | None] = queue.SimpleQueue()
        self._in_work: dict[tuple[str, int], _Done] = {}
        self._late: set[tuple[str, int]] = set()
        self._unrecorded: list[_Done] = []
        self._stopping = False
        self._resume = 0.0
        self._swept = -_SWEEP
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin to work; films that an earlier server left come first."""
        self._thread.start()

    def take_no_more(self) -> None:
        """Take no more films; those in progress go on."""
        self._stopping = True
        self._events.put(None)

    def stop(self, drain_s: float) -> None:
        """Take no more films, wait for those in progress, and leave what is not done to the next start."""
        self.take_no_more()
        if self._thread.ident is not None:
            self._thread.join()
        end = time.monotonic() + drain_s
        while self._in_work and (left := end - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=left)
            except queue.Empty:
                break
            self._guarded(self._settle, event)
        for film, future in list(self._in_work.values()):
            future.cancel()
            self._guarded(self._store.give_back, film)

    def _run(self) -> None:
        def wake() -> None:
            self._events.put(None)

        with self._store.listening(wake):
            while not self._stopping:
                self._guarded(self._fill)
                event = self._next()
                self._guarded(self._settle, event)
                if time.monotonic() - self._swept >= _SWEEP:
                    self._swept = time.monotonic()
                    self._guarded(self._store.sweep)

    def _next(self) -> _Done | None:
        try:
            return self._events.get(timeout=_LOOK)
        except queue.Empty:
            return None

    def _guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """Do a step; what it meets (a full disk) stops nothing: what is not recorded waits on the disk."""
        try:
            step(*arguments)
        except AdaloraqatError as error:
            self._resume = time.monotonic() + _PAUSE
            log.error("Jobs pause for %g s: %s", _PAUSE, error)
        except Exception as error:
            self._resume = time.monotonic() + _PAUSE
            log.error("Jobs pause for %g s: %s in the jobs folder.", _PAUSE, type(error).__name__)

    def _fill(self) -> None:
        """Give the pool as many films as it has processes."""
        if time.monotonic() < self._resume:
            return
        while self._unrecorded:
            self._settle(self._unrecorded.pop(0))
        while len(self._in_work) < self._pool.workers and not self._stopping:
            try:
                self._pool.check_room(self._deadline)
            except QueueFull as error:
                self._resume = time.monotonic() + max(0.1, min(_PAUSE, error.retry_after_s))
                return
            film = self._store.take()
            if film is None:
                return
            self._submit(film)

    def _submit(self, film: WaitingFilm) -> None:
        try:
            self._hand_over(film)
        except (OSError, AdaloraqatError):  # the computer's trouble, not the film's: it keeps its turn
            self._store.give_back(film)
            raise

    def _hand_over(self, film: WaitingFilm) -> None:
        try:
            data = self._store.data(film)
        except FileNotFoundError:
            self._store.fail(
                film, "The film was removed from the jobs folder before its turn: send it again."
            )
            return
        except OSError as error:
            if error.errno in _MOMENTARY:
                raise
            # it would be first again and again, and hold up all others
            self._fail(film, f"The film cannot be read in the jobs folder ({error.strerror}): send it again.")
            return
        try:
            request = FilmRequest(data, film.name, film.wish.model, outputs=film.wish.outputs)
            future = self._pool.submit(request, self._deadline)
        except QueueFull:
            self._store.give_back(film)
            return
        except AdaloraqatError as error:
            self._fail(film, str(error))
            return
        self._in_work[film.job, film.number] = film, future
        future.add_done_callback(lambda done: self._events.put((film, done)))

    def _settle(self, event: _Done | None) -> None:
        if event is None:
            return
        film, future = event
        try:
            self._record(film, future)
        except Exception:
            self._unrecorded.append(event)
            raise
        self._in_work.pop((film.job, film.number), None)

    def _record(self, film: WaitingFilm, future: "Future[FilmAnswer]") -> None:
        key = film.job, film.number
        try:
            answer = future.result(0)
        except (QueueFull, CancelledError):  # the pool closes
            self._store.give_back(film)
        except DeadlinePassed as error:
            if key in self._late:
                self._late.discard(key)
                self._fail(film, str(error))
            else:  # once may be for others' sake
                self._late.add(key)
                self._store.give_back(film)
        except WorkerDefect as error:
            self._fail(film, f"This film hit a bug in adaloraqat, please report it: {error}.")
        except AdaloraqatError as error:
            self._fail(film, str(error))
        else:
            self._store.record(film, answer.entry, answer.files)
            self.done += 1

    def _fail(self, film: WaitingFilm, sentence: str) -> None:
        self._store.fail(film, sentence)
        self.failed += 1
