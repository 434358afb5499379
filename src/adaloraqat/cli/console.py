"""What a command says while it works, and how it ends: messages and progress to stderr, results to stdout.

The exit codes below are what a command's end means to a shell; 0 is done.
"""

import io
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import suppress
from typing import Any, TextIO, TypeVar

from adaloraqat.errors import OutputError

log = logging.getLogger("adaloraqat")
Item = TypeVar("Item")

SOME_FAILED = 1
"""Some inputs failed, the others are done and the failures are listed; or what was looked for was found."""

NOTHING_DONE = 2
"""Nothing could be done: bad arguments, no such file, a damaged model."""

INTERRUPTED = 130
"""Stopped by Ctrl-C; what was finished stays."""

PLAIN_EVERY_SECONDS = 2.0
NAMED = 20  # failed inputs that the last line names; each has a line of its own
DAY = 24 * 3600


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is at that moment (a progress bar and tests exchange it)."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def configure_logging() -> None:
    """Send the package's messages to stderr, one plain line each, from INFO on."""
    log.setLevel(logging.INFO)
    if any(isinstance(handler, _Stderr) for handler in log.handlers):
        return
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)


def tell(line: str) -> None:
    """Say how far a task is: the `report` that functions of every room take."""
    log.info("%s", line)


def is_quiet() -> bool:
    """Whether neither progress nor what went well is shown."""
    return not log.isEnabledFor(logging.INFO)


def configure_stdout() -> None:
    """Escape, as stderr does, what stdout cannot say: a file's name may be any bytes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def print_line(text: str) -> None:
    """Print a line of results on stdout, at once.

    Raises:
        OutputError: stdout cannot be written. Where its reader has gone, the error is left to Typer, which
            ends the process quietly.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_stdout()
        raise OutputError(stdout_lost(error)) from error


def print_json(document: Any) -> None:
    """Print one machine-readable document on stdout. NaN is refused: JSON has none.

    Names are printed as they are where stdout can say them; else JSON's own escapes stand for all of them.

    Raises:
        OutputError: as `print_line`.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2, allow_nan=False)
    print_line(text)


def name_failures(failed: Sequence[str], inputs: int) -> None:
    """Say in one line which inputs failed, where there was more than one."""
    if failed and inputs > 1:
        more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        log.error("%d of %d inputs failed: %s%s", len(failed), inputs, ", ".join(failed[:NAMED]), more)


def exit_code(done: int, failed: int) -> int:
    """Return what the contract says of so many inputs done and failed."""
    if not failed:
        return 0
    return SOME_FAILED if done else NOTHING_DONE


def stdout_fails() -> bool:
    """Try whether stdout cannot be written, by an empty line."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def discard_stdout() -> None:
    """Send what stdout still holds nowhere, so that the process's end does not fail of it once more."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stdout_lost(error: OSError) -> str:
    """Return the sentence for a stdout that cannot be written."""
    return (
        f"Standard output cannot be written ({error.strerror}): redirect it elsewhere; finished files are "
        "kept."
    )


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Give the items one by one: with a bar where stderr is a terminal, else with a plain line now and then.

    Both estimate the time left. `what` is the plural noun of the items ("films"), `total` their number where
    the items do not know it. A single item shows nothing.
    """
    count = total if total is not None else len(items) if isinstance(items, Sized) else 0
    if is_quiet():
        yield from items
        return
    if count > 1 and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        yield from track(items, description=what, total=count, console=console, transient=True)
        return
    started = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - last >= PLAIN_EVERY_SECONDS:
            log.info("%d of %d %s%s", done, count, what, _left(now - started, done, count))
            last = now
        yield item


def _left(spent: float, done: int, count: int) -> str:
    """Return about how long the rest takes and when that ends by the clock, once something is done."""
    if not 0 < done < count:
        return ""
    seconds = spent / done * (count - done)
    ends = time.strftime(
        "%H:%M" if seconds < DAY else "%Y-%m-%d %H:%M", time.localtime(time.time() + seconds)
    )
    return f", about {_duration(seconds)} left (until {ends})"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
