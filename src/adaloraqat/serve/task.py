"""One film on its way through the pool, and what its client is told at the end."""

import hashlib
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from adaloraqat.batch.workers import ATTEMPTS
from adaloraqat.errors import FilmError
from adaloraqat.serve.film import (
    DeadlinePassed,
    FilmAnswer,
    FilmRequest,
    PoisonFilm,
    TooLarge,
    WorkerDefect,
)
from adaloraqat.serve.film_work import FILM, LARGE, Refusal


@dataclass(eq=False)
class Task:
    """A film in the queue or in work; `deadline` on the monotonic clock, `allowed` its seconds."""

    request: FilmRequest
    deadline: float
    allowed: float
    future: "Future[FilmAnswer]" = field(default_factory=Future)
    claimed: bool = False

    def claim(self) -> bool:
        """Tell whether there is still somebody who waits for it; nobody can cancel it afterwards."""
        if not self.claimed:
            self.claimed = self.future.set_running_or_notify_cancel()
        return self.claimed

    def fail(self, error: Exception) -> None:
        """End it without an answer, where it has not ended yet."""
        if self.claim() and not self.future.done():
            self.future.set_exception(error)

    def settle(self, reply: Any) -> None:
        """End it with what its process said, where its deadline has not passed."""
        if self.future.done():
            return
        if isinstance(reply, FilmAnswer):
            self.future.set_result(reply)
        elif not isinstance(reply, Refusal):
            self.fail(WorkerDefect("a worker answered something else"))
        elif reply.kind == LARGE:
            self.fail(TooLarge(reply.sentence))
        elif reply.kind == FILM:
            self.fail(FilmError(reply.sentence))
        else:
            self.fail(WorkerDefect(reply.sentence))

    def late(self) -> DeadlinePassed:
        """Return what is told at the deadline."""
        return DeadlinePassed(f"The film was not done within {self.allowed:g} seconds: ask again later.")

    def sha256(self) -> str:
        """Return what a film, with the mask that came along, is known by when it comes again."""
        digest = hashlib.sha256(self.request.data)
        digest.update(self.request.mask or b"")
        return digest.hexdigest()


def poison() -> PoisonFilm:
    """Return what is told of a film that ended as many processes as it is tried."""
    return PoisonFilm(
        f"The process for this film crashed {ATTEMPTS} times: the film may be damaged, or too large for "
        "the memory; it is not tried again."
    )
