"""What a command says while it works: messages and progress to stderr, results to stdout."""

import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, TextIO, TypeVar

import typer

log = logging.getLogger("adaloraqat")
Item = TypeVar("Item")

PLAIN_EVERY_SECONDS = 2.0


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is at that moment (a progress bar and tests exchange it)."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def configure_logging() -> None:
    """Send the package's messages to stderr, one plain line each."""
    if any(isinstance(handler, _Stderr) for handler in log.handlers):
        return
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def print_json(document: Any) -> None:
    """Print one machine-readable document on stdout. NaN is refused: JSON has none."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def progress(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Give the items one by one: with a bar where stderr is a terminal, else with a plain line now and then.

    `what` is the plural noun of the items ("films"). A single item shows nothing.
    """
    if len(items) > 1 and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(items, description=what, console=Console(stderr=True), transient=True)
        return
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last >= PLAIN_EVERY_SECONDS:
            log.info("%d of %d %s", done, len(items), what)
            last = time.monotonic()
        yield item
