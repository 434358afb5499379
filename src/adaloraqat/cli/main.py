"""The command line's front door: which commands there are, and how any of them ends.

Exit codes: 0 done; 1 some inputs failed, the others are done; 2 nothing could be done; 130 stopped by Ctrl-C.
Commands are imported only when called, so that segmenting never waits for what training needs.
"""

import importlib
import logging
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command as as_command

import adaloraqat
from adaloraqat.cli.console import (
    INTERRUPTED,
    NOTHING_DONE,
    configure_logging,
    configure_stdout,
    discard_stdout,
    stdout_fails,
    stdout_lost,
)
from adaloraqat.cli.options import joined
from adaloraqat.errors import AdaloraqatError
from adaloraqat.extras import extra_of, install

log = logging.getLogger("adaloraqat")


class Command(NamedTuple):
    """Where a command lives, and the line that `--help` shows for it without importing it."""

    module: str
    attribute: str
    summary: str


COMMANDS = {
    "segment": Command("adaloraqat.cli.segment", "segment", "Outline the lungs in chest X-rays."),
    "serve": Command("adaloraqat.cli.serve", "serve", "Serve models over HTTP."),
    "page": Command("adaloraqat.cli.page", "page", "Outline films in the browser, on this computer."),
    "train": Command("adaloraqat.cli.train", "train", "Train a model on your films, following a recipe."),
    "evaluate": Command("adaloraqat.cli.evaluate", "evaluate", "Score models against your masks."),
    "report": Command("adaloraqat.cli.report", "report", "Compare methods in a table, with statistics."),
    "robustness": Command(
        "adaloraqat.cli.robustness", "robustness", "Score models on corrupted films (rotated, noisy, …)."
    ),
    "export": Command(
        "adaloraqat.cli.export", "export", "Turn a trained model into a bundle that runs anywhere."
    ),
    "extend": Command("adaloraqat.cli.extend", "extend", "Add right and left lung, heart and quality."),
    "push": Command("adaloraqat.cli.push", "push", "Upload a bundle to the Hugging Face Hub."),
    "analyse": Command("adaloraqat.cli.analyse", "analyse", "Measure what INT8 costs, layer by layer."),
    "bench": Command("adaloraqat.cli.bench", "bench", "Compare the speed and size of bundles."),
    "data": Command("adaloraqat.cli.data", "data_app", "Index, audit and split data sets; draw phantoms."),
    "weights": Command("adaloraqat.cli.weights", "weights_app", "List and download published weights."),
    "info": Command(
        "adaloraqat.cli.info",
        "info",
        "Show details of this computer or of a model.",
    ),
    "demo": Command("adaloraqat.cli.demo", "demo", "Train, compress and segment in minutes, on phantoms."),
}

_LONGEST = 40  # characters of a name that a sentence shows


class LazyGroup(TyperGroup):
    """A group that imports a command only to run it, and turns what a user can fix into one sentence."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # stand-ins that know their summary are enough for --help and for "did you mean"
        self.commands = {name: TyperCommand(name, help=command.summary) for name, command in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, imported, with the arguments that are left for it."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, _load(str(name)), joined(rest)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a user's mistake ends in one line on stderr and the contract's exit code."""
        configure_logging()
        configure_stdout()
        try:
            return super().invoke(ctx)
        except AdaloraqatError as error:
            log.error("%s", error)
            log.debug("Where this came from:", exc_info=error)
            raise typer.Exit(NOTHING_DONE) from error
        except ModuleNotFoundError as error:
            extra = extra_of(error.name)
            if extra is None:
                raise
            log.error("This needs %s, which is not installed: run %s.", error.name, install(extra))
            raise typer.Exit(NOTHING_DONE) from error
        except (OSError, RuntimeError) as error:
            sentence = _unusable_path(error)
            if sentence is None:
                raise
            log.error("%s", sentence)
            raise typer.Exit(NOTHING_DONE) from error
        except MemoryError as error:
            log.error("Not enough memory: close other programs, or use a smaller film or model.")
            raise typer.Exit(NOTHING_DONE) from error
        except KeyboardInterrupt as error:
            log.error("Stopped by Ctrl-C. Finished files are kept; nothing is left half-written.")
            raise typer.Exit(INTERRUPTED) from error


def _unusable_path(error: OSError | RuntimeError) -> str | None:
    """Return the sentence for a path that the system refuses (too long, a loop of links); None for others."""
    if isinstance(error, OSError):
        if error.filename is None:
            return None
        name = Path(os.fsdecode(error.filename)).name
        shown = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"
        return f"{shown} cannot be used ({error.strerror}): check the path and its permissions."
    if str(error).startswith("Symlink loop"):  # pathlib's own
        return "A path leads into a loop of symbolic links: give the file or folder itself."
    return None


app = typer.Typer(
    cls=LazyGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Segment chest X-rays. Adapt Segment Anything to your own films and compress it to true INT8.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adaloraqat {adaloraqat.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", "-V", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Take the options that stand before a command."""


def _show_more(given: bool) -> None:
    if given:
        log.setLevel(logging.DEBUG)
        versions = (adaloraqat.__version__, platform.python_version(), platform.platform())
        log.debug("adaloraqat %s, Python %s, %s", *versions)


def _show_less(given: bool) -> None:
    if given:
        log.setLevel(logging.WARNING)


def _verbosity(
    verbose: bool = typer.Option(
        False,
        "--verbose",
        "-v",
        expose_value=False,
        callback=_show_more,
        help="Show more: details, and where an error came from.",
    ),
    quiet: bool = typer.Option(
        False,
        "--quiet",
        "-q",
        expose_value=False,
        callback=_show_less,
        help="Show warnings and errors only; results are still printed.",
    ),
) -> None:
    """Have the options that every command gets."""


def main() -> None:
    """Run the command line; the process ends with one of the exit codes above."""
    try:
        app(prog_name="adaloraqat")
    except OSError as error:
        if not stdout_fails():
            raise
        discard_stdout()
        configure_logging()  # --help and --version end before a command begins
        log.error("%s", stdout_lost(error))
        sys.exit(NOTHING_DONE)


def _load(name: str) -> Any:
    """Import a command; a plain function becomes a command, a Typer app a group."""
    command = COMMANDS[name]
    target = getattr(importlib.import_module(command.module), command.attribute)
    loaded = as_command(target if isinstance(target, typer.Typer) else _single(name, target))
    for leaf in getattr(loaded, "commands", {name: loaded}).values():
        leaf.params += as_command(_single(name, _verbosity)).params
    return loaded


def _single(name: str, function: Callable[..., None]) -> typer.Typer:
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    single.command(name)(function)
    return single


if __name__ == "__main__":
    main()
