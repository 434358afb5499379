"""A batch: films that are not done yet go to the workers, and each gets its line when it comes back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from adaloraqat.batch.film_entry import Failure, FilmEntry
from adaloraqat.batch.results import ResultsFile
from adaloraqat.batch.stamps import FilmStamp
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

    @property
    def mask(self) -> Path | None:
        """An earlier mask that is to be corrected."""
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


def left_to_do(
    results: ResultsFile, tasks: Sequence[Task], files: Callable[[Task], Iterable[str]] = lambda task: ()
) -> list[Task]:
    """Return the tasks that are not done, and take what the file says of them out of it.

    A film counts as done where its file has the size and the time that its line tells, and its mask is there;
    so does one that its line names in another way, as `a.png` what is `films/a.png` now. Where a film will
    write what the line of another one names, as `a.png` the mask of an `a.dcm` that is no longer there, that
    line goes too.

    Args:
        results: the folder's results.
        tasks: all films of the call.
        files: what a task writes, relative to the folder.

    Raises:
        OutputError: two films have the same name, or a result would take the place of that of a film of
            another folder. Nothing was changed.
    """
    names: set[str] = set()
    writes: dict[str, str] = {}
    for task in tasks:
        if task.name in names:
            raise OutputError(
                f"Two films are called {task.name}: segment them separately, with different --out."
            )
        names.add(task.name)
        writes |= dict.fromkeys(files(task), task.name)
    wrote = results.writers()
    left, gone, same = [], set(), set()
    for task in tasks:
        stamp = stamp_of(task)
        before = {task.name, *(wrote[file] for file in files(task) if file in wrote)}
        for name in sorted(before):
            results.refuse_other(stamp, name)
        found = [name for name in before if name in results]
        is_same = (
            len(found) == 1
            and results.is_of(found[0], stamp)
            and all(writes.get(file, task.name) == task.name for file in results.files(found[0]))
        )
        if is_same and results.is_done(stamp, found[0]):
            results.call(found[0], task.name)
            continue
        left.append(task)
        gone |= before
        if is_same and set(results.files(found[0])) <= set(files(task)):  # they will be written over
            same.add(found[0])
    results.forget(gone, same)
    return left


def stamp_of(task: FilmTask) -> FilmStamp:
    """Return what the line of a film says of its file."""
    return FilmStamp.of(task.name, task.source, task.mask)


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
    return Outcome(stamp_of(task), entry, "crash")
