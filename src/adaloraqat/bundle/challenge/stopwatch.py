"""Where the time goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Wall time by named parts, in milliseconds."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to a part."""
        started = time.perf_counter()
        try:
            yield
        finally:
            passed = (time.perf_counter() - started) * 1000
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + passed
