"""What the processes of the pool's tests do; spawned processes import it."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from adaloraqat.errors import BundleError
from adaloraqat.serve.film import FilmAnswer, FilmRequest


def refusing() -> Callable[[FilmRequest], FilmAnswer]:
    raise BundleError("no such model")


def dying() -> Callable[[FilmRequest], FilmAnswer]:
    os.kill(os.getpid(), signal.SIGKILL)
    return refusing()


class Obedient:
    """Does what the film's bytes say: sleep for some seconds, kill the process always or the first time."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes

    def __call__(self) -> Callable[[FilmRequest], FilmAnswer]:
        def work(request: FilmRequest) -> FilmAnswer:
            order, _, number = request.data.decode().partition(" ")
            with open(self._notes, "a") as stream:
                stream.write(f"{request.name}\n")
            tries = self._notes.read_text().split().count(request.name)
            if order == "die" or (order == "die-once" and tries == 1):
                os.kill(os.getpid(), signal.SIGKILL)
            if order == "sleep":
                time.sleep(float(number))
            return FilmAnswer({"path": request.name, "tries": tries})

        return work
