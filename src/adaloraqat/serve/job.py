"""Jobs as values: what is wished of films, what waits, what came of it, and how far a job is."""

from dataclasses import dataclass
from typing import Any

KEPT_FOR = 24 * 3600.0
"""Seconds from a job's arrival to its deletion, fetched or not."""


@dataclass(frozen=True)
class Limits:
    """How much may wait: films of all jobs together, and bytes that stay free on the disk for results."""

    films: int = 20_000
    free_bytes: int = 512 << 20


@dataclass(frozen=True)
class Wish:
    """What is to come of a job's films: by which model, and which outputs.

    Attributes:
        model: name of a bundle, None for the server's own.
        outputs: of `FilmRequest.outputs`; the entry, "json", always comes.
        archived: the outputs go to the archive and are not fetched.
    """

    model: str | None = None
    outputs: frozenset[str] = frozenset({"json"})
    archived: bool = False


@dataclass(frozen=True)
class WaitingFilm:
    """A film to be worked on: its job and number there, its name as given, and what is wished."""

    job: str
    number: int
    name: str
    tries: int
    wish: Wish


@dataclass(frozen=True)
class Result:
    """One film's recorded result.

    Attributes:
        event: grows with each result; a client that has seen it asks for what came after.
        entry: of `segment --json`, with `error` where the film failed.
        outputs: kinds of files that were made; some may have been fetched and deleted.
    """

    event: int
    number: int
    failed: bool
    entry: dict[str, Any]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class JobState:
    """How far a job is; `created` and `expires` in seconds since 1970."""

    job: str
    films: int
    done: int
    failed: int
    created: float

    @property
    def expires(self) -> float:
        """When the job and all that belongs to it is deleted."""
        return self.created + KEPT_FOR

    @property
    def finished(self) -> bool:
        """Whether every film has its result."""
        return self.done + self.failed == self.films
