"""`segment --workers` and `--resume`: films by several processes, with results.jsonl and results.csv."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaloraqat.batch import FilmEntry, Outcome, ResultsFile, Settings, run_batch
from adaloraqat.batch.csv_files import MEASURES_CSV, RESULTS_CSV, write_measures_csv, write_results_csv
from adaloraqat.batch.run import left_to_do
from adaloraqat.cli.console import INTERRUPTED, exit_code, name_failures, print_json, print_line, progress
from adaloraqat.cli.plan import Job, Refusal, Wanted, shown

log = logging.getLogger("adaloraqat")


def do_many(
    jobs: Sequence[Job],
    refusals: Sequence[Refusal],
    out: Path,
    settings: Settings,
    set_up: Callable[[], Callable[[Job], Outcome]],
    *,
    workers: int,
    resume: bool,
    document: Callable[[list[FilmEntry]], dict[str, Any]] | None,
    wanted: Wanted,
) -> int:
    """Do what is left of `jobs`, write the table, and return the exit code.

    Args:
        jobs: the films of the call.
        refusals: inputs that give no film.
        out: the output folder.
        settings: what all its results must share.
        set_up: see `run_batch`.
        workers: how many processes.
        resume: whether results that are there may be continued.
        document: makes the document of `--json` of all entries; None prints the names of masks instead.
        wanted: what is written beside masks.

    Raises:
        AdaloraqatError: nothing could be begun, or results.jsonl cannot be written.
    """
    obstacle: str | None = None
    interrupted = False
    with ResultsFile(out, settings, resume) as results:
        for sentence in results.warnings:
            log.warning("%s", sentence)

        def files(job: Job) -> list[str]:
            return [path.as_posix() for path in job.files(Path(), wanted)]

        left = [job.absolute() for job in left_to_do(results, jobs, files)]
        if len(left) < len(jobs):
            log.info("%d of %d films were already done.", len(jobs) - len(left), len(jobs))
        try:
            outcomes = run_batch(results, left, set_up, workers)
            for outcome in progress(outcomes, "films", len(left)):
                _tell(outcome, None if document else out)
                obstacle = outcome.obstacle or obstacle
        except KeyboardInterrupt:
            interrupted = True
        unfinished = [job for job in jobs if job.name not in results]
        if not unfinished:
            write_results_csv(out / RESULTS_CSV, results.lines())
            if wanted.measures:
                lines = (FilmEntry.from_dict(line["entry"]) for line in results.lines())
                write_measures_csv(out / MEASURES_CSV, lines)
        failed = [refusal.name for refusal in refusals]
        failed += [job.name for job in jobs if results.failure(job.name)]
        answered = sum(results.answered(job.name) for job in jobs)
        if interrupted:
            done = len(jobs) - len(unfinished)
            log.error(
                "Stopped by Ctrl-C. The results of %d of %d films are kept; the same command with --resume "
                "continues.",
                done,
                len(jobs),
            )
        else:
            failed += [job.name for job in unfinished]
        if document:
            print_json(document(list(_entries(results, jobs, refusals, out, obstacle))))
    name_failures(failed, len(jobs) + len(refusals))
    if interrupted:
        return INTERRUPTED
    return exit_code(answered, len(failed))


@contextmanager
def told_to_parent() -> Iterator[list[tuple[int, str]]]:
    """Collect what this process logs, in place of printing it: (level, text) each."""
    told: list[tuple[int, str]] = []

    class _Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append((record.levelno, record.getMessage()))

    handlers, propagate, level = log.handlers, log.propagate, log.level
    log.handlers, log.propagate = [_Collect()], False
    log.setLevel(logging.INFO)
    try:
        yield told
    finally:
        log.handlers, log.propagate = handlers, propagate
        log.setLevel(level)


def _tell(outcome: Outcome, out: Path | None) -> None:
    """Say what a worker had to say of a film; with `out`, print the names of its files."""
    for level, text in outcome.messages:
        log.log(level, "%s", text)
    entry = outcome.entry
    if outcome.failure == "crash":
        log.error("%s: %s", entry.path, entry.error)
    if out is not None:
        for name in entry.files():
            print_line(shown(out, Path(name)))


def _entries(
    results: ResultsFile,
    jobs: Sequence[Job],
    refusals: Sequence[Refusal],
    out: Path,
    obstacle: str | None,
) -> Iterator[FilmEntry]:
    """Give the entry of every input, in the order of the call; names of files as the call names them."""
    for refusal in refusals:
        yield FilmEntry(refusal.name, error=refusal.error)
    found = {line["film"]["path"]: FilmEntry.from_dict(line["entry"]) for line in results.lines()}
    for job in jobs:
        entry = found.get(results.line_of(job.name))
        if entry is not None:
            yield replace(entry, path=job.name).named(lambda name: shown(out, Path(name)))
        elif obstacle:
            yield FilmEntry(job.name, error=f"Not tried, because of {obstacle}")
