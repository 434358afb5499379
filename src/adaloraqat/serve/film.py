"""One film in the server: what is asked of it, what is answered or why not, and its way through the pool."""

import hashlib
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from adaloraqat.batch.workers import ATTEMPTS
from adaloraqat.bundle.prompts import Point
from adaloraqat.errors import AdaloraqatError, FilmError

JSON, MASK, OVERLAY, SEG = "json", "mask", "overlay", "seg"
OUTPUTS = frozenset({JSON, MASK, OVERLAY, SEG})
"""What a film may be answered with: its entry, and three files."""
OBJECTS = (SEG, "sr", "pr")
"""What an archive may get of a film; the kinds of `dicom_out.KINDS`."""

MOST_BOXES = MOST_POINTS = 256
"""How many of each one film may come with."""

FILM, LARGE, DEFECT = "film", "large", "defect"
"""Why there is no answer: the film or what was asked of it; its size; an error of this package."""

FULL_DISK = "The server's disk has no space for more films: try again later, or free some space."
_RETRY_S = 30.0

BoxLike = tuple[float, float, float, float]


@dataclass(frozen=True)
class FilmRequest:
    """One film and how to treat it.

    Attributes:
        data: the file's bytes.
        name: what sentences and the entry's `path` call it; never a path of this computer.
        model: one of the pool's models; None: its first.
        box: (x_min, y_min, x_max, y_max) in pixels of the film, or None.
        boxes: where not None, each of them is answered on its own and `box` says nothing.
        points: (x, y, label) each, as `Segmenter.segment` takes them with its labels.
        mask: the bytes of a PNG, an earlier mask to correct; None: none.
        mask_name: as `name`, of the mask.
        prompt: what stands in for a box, see `Segmenter.segment`.
        outputs: of `OUTPUTS` and `OBJECTS`. With `boxes` only `json` and `mask`, then a picture of labels.
    """

    data: bytes = field(repr=False)
    name: str = "film"
    model: str | None = None
    box: BoxLike | None = None
    boxes: tuple[BoxLike, ...] | None = None
    points: tuple[Point, ...] = ()
    mask: bytes | None = field(default=None, repr=False)
    mask_name: str = "mask"
    prompt: str = "auto"
    outputs: frozenset[str] = frozenset({JSON})


@dataclass(frozen=True)
class FilmAnswer:
    """A film's result.

    Attributes:
        entry: the film's entry as `segment --json` has it; with `boxes` it has `objects`, one per box.
        files: the bytes of what was asked for, by output ("mask", "overlay", "seg", "sr", "pr").
    """

    entry: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Refusal:
    """Why a film has no answer: `FILM`, `LARGE` or `DEFECT`, and a sentence (of a defect: type, place)."""

    kind: str
    sentence: str


class TooLarge(FilmError):
    """The film has more pixels than this server takes."""


class PoisonFilm(FilmError):
    """The film ended two processes; it is not tried again."""


class QueueFull(AdaloraqatError):
    """No film can be taken now.

    Attributes:
        retry_after_s: after how many seconds it is worth asking again.
    """

    def __init__(self, sentence: str, retry_after_s: float = 1.0) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class StoreFull(QueueFull):
    """The disk or the queue has no place for more films now; nothing of what was offered was taken."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, _RETRY_S)


class DeadlinePassed(AdaloraqatError):
    """The film was not done in the time that it had."""


class WorkerDefect(RuntimeError):
    """A defect of this package met in a worker: the exception's type and place, nothing of the film."""


@dataclass(eq=False)
class Task:
    """A request in the pool, waiting or in progress.

    `deadline` is on the monotonic clock, `allowed` its seconds.
    """

    request: FilmRequest
    deadline: float
    allowed: float
    future: "Future[FilmAnswer]" = field(default_factory=Future)
    claimed: bool = False

    def claim(self) -> bool:
        """Return whether there is still somebody who waits for it; nobody can cancel it afterwards."""
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
        """Return the message for a missed deadline."""
        return DeadlinePassed(f"The film was not finished within {self.allowed:g} seconds: try again later.")

    def sha256(self) -> str:
        """Return what a film, with the mask that came along, is known by when it comes again."""
        digest = hashlib.sha256(self.request.data)
        digest.update(self.request.mask or b"")
        return digest.hexdigest()


def poison() -> PoisonFilm:
    """Return the message for a film that crashed as many processes as it is tried in."""
    return PoisonFilm(
        f"The process for this film crashed {ATTEMPTS} times: the film may be damaged, or too large for "
        "the memory; it is not tried again."
    )
