"""A batch: films that are not done yet go to the workers, and each gets its line when it comes back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from adaloraqat.batch.film_entry import Failure, FilmEntry
from adaloraqat.batch.results import FilmStamp, ResultsFile
from adaloraqat.batch.workers import ATTEMPTS, as_done
from adaloraqat.errors import OutputError


class FilmTask(Protocol):
    """One film to segment: its file, and how output speaks of it."""

    @property
    def source(self) -> Path:
        """The film's file."""
        ...

    @property
    def name(self) -> str:
        """Relative to the folder that was given, or as given; no two films of a batch share it."""
        ...


Task = TypeVar("Task", bound=FilmTask)


@dataclass(frozen=True)
class Outcome:
    """What became of one film.

    Attributes:
        film: its file before it was read.
        entry: mask and overlay relative to the output folder.
        failure: why there is no result, None where there is one.
        messages: (level of `logging`, text) of what there is to say.
        obstacle: why nothing further can be written; the film then has no line, and the batch ends.
    """

    film: FilmStamp
    entry: FilmEntry
    failure: Failure | None = None
    messages: tuple[tuple[int, str], ...] = ()
    obstacle: str | None = None


def left_to_do(results: ResultsFile, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks that are not done, and take what the file says of them out of it.

    A film counts as done where its file has the size and the time that its line tells, and its mask is there.

    Raises:
        OutputError: two films have the same name.
    """
    names: set[str] = set()
    for task in tasks:
        if task.name in names:
            raise OutputError(
                f"Two films are called {task.name}: segment them separately, with different --out."
            )
        names.add(task.name)
    left = [task for task in tasks if not results.is_done(FilmStamp.of(task.name, task.source))]
    results.forget(task.name for task in left)
    return left


def run_batch(
    results: ResultsFile,
    tasks: Sequence[Task],
    set_up: Callable[[], Callable[[Task], Outcome]],
    workers: int,
) -> Iterator[Outcome]:
    """Do every task and write its line; give each outcome when its line is on the disk, as they come.

    Args:
        results: the folder's results.
        tasks: films that are not done, from `left_to_do`.
        set_up: called once in each process; returns what segments a film and writes its mask.
        workers: how many processes.

    Raises:
        AdaloraqatError: the workers cannot start, or results.jsonl cannot be written.
    """
    for outcome in as_done(set_up, tasks, workers, _died):
        if outcome.obstacle is None:
            results.append(outcome.film, outcome.entry, outcome.failure)
        yield outcome
        if outcome.obstacle is not None:
            return


def _died(task: FilmTask) -> Outcome:
    sentence = (
        f"The process for this film crashed {ATTEMPTS} times: the film may be damaged, or too large for "
        "the memory."
    )
    entry = FilmEntry(task.name, error=sentence)
    return Outcome(FilmStamp.of(task.name, task.source), entry, "crash")
