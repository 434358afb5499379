"""What the processes of the tests do; spawned processes import it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from adaloraqat.errors import BundleError


def doubling() -> Callable[[int], int]:
    return lambda number: 2 * number


def refusing() -> Callable[[int], int]:
    raise BundleError("no such model")


def dying_at_start() -> Callable[[int], int]:
    os.kill(os.getpid(), signal.SIGKILL)
    return doubling()


class Deadly:
    """Dies on 7 always, on 5 the first time."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes

    def __call__(self) -> Callable[[int], int]:
        def work(number: int) -> int:
            with open(self._notes, "a") as stream:
                stream.write(f"{number}\n")
            first = self._notes.read_text().split().count("5") == 1
            if number == 7 or (number == 5 and first):
                os.kill(os.getpid(), signal.SIGKILL)
            return 2 * number

        return work
