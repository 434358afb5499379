"""What is asked of the server for one film, what it answers, and why it may not."""

from dataclasses import dataclass, field
from typing import Any

from adaloraqat.bundle.prompts import Point
from adaloraqat.errors import AdaloraqatError, FilmError

JSON, MASK, OVERLAY, SEG = "json", "mask", "overlay", "seg"
OUTPUTS = frozenset({JSON, MASK, OVERLAY, SEG})
"""What a film may be answered with: its entry, and three files."""
OBJECTS = (SEG, "sr", "pr")
"""What an archive may get of a film; the kinds of `dicom_out.KINDS`."""

MOST_BOXES = MOST_POINTS = 256
"""How many of each one film may come with."""

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
        entry: the film's entry as `segment --json` has it; with `boxes` it has `objects`, one a box.
        files: the bytes of what was asked for, by output ("mask", "overlay", "seg", "sr", "pr").
    """

    entry: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict, repr=False)


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


class DeadlinePassed(AdaloraqatError):
    """The film was not done in the time that it had."""


class WorkerDefect(RuntimeError):
    """A defect of this package met in a worker: the exception's type and place, nothing of the film."""
