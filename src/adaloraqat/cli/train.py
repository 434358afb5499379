"""`adaloraqat train`: adapt a model to a person's films, by a recipe."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.console import INTERRUPTED, NOTHING_DONE, SOME_FAILED, is_quiet, print_line, tell
from adaloraqat.cli.options import TrainingThreads, set_up_torch
from adaloraqat.errors import AdaloraqatError

log = logging.getLogger("adaloraqat")


class TrackerName(StrEnum):
    """The experiment trackers (`training.trackers.TRACKERS`)."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"
    trackio = "trackio"


def train(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE", help="A recipe (YAML), such as recipes/demo.yaml.", show_default=False
        ),
    ],
    data: Annotated[
        Path, typer.Option("--data", help="Manifest (CSV) with train and val films.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the run.", show_default=False)],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a value of the recipe, such as stages.0.schedule.epochs=5 (repeatable).",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted run in --out.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print films, steps, ranks, parameters, memory and time; write nothing."
        ),
    ] = False,
    threads: TrainingThreads = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            envvar="ADALORAQAT_FILM_CACHE", help="Folder for decoded films, which later runs reuse."
        ),
    ] = None,
    trackers: Annotated[
        list[TrackerName] | None,
        typer.Option("--log", help="Also log to this experiment tracker (repeatable)."),
    ] = None,
) -> None:
    """Train a model on the films of a manifest, following a recipe.

    It can be stopped at any time: the same command with --resume continues after the last complete epoch.
    """
    set_up_torch(threads)
    from adaloraqat.training import load_recipe
    from adaloraqat.training.processes import launched
    from adaloraqat.training.train import train as run_recipe
    from adaloraqat.training.validate import in_words

    number, _ = launched()
    if number:
        log.setLevel(logging.ERROR)  # the main process speaks for all
    try:
        settled = load_recipe(recipe, tuple(settings or ()))
        if dry_run:
            from adaloraqat.training.dry_run import plan

            if not number:
                for line in plan(settled, data).lines():
                    print_line(line)
            return
        with _step_bar() as steps:
            result = run_recipe(
                settled,
                data,
                out,
                resume=resume,
                report=tell,
                on_step=steps,
                cache=cache,
                log=trackers or (),
            )
    except AdaloraqatError as error:
        if number:
            raise typer.Exit(NOTHING_DONE) from error
        raise
    except KeyboardInterrupt as error:
        log.error(
            "Stopped by Ctrl-C: the same command with --resume continues after the last complete epoch."
        )
        raise typer.Exit(INTERRUPTED) from error
    after = result["stages"][-1]["after"]
    log.info(
        "Done: %s. Next: adaloraqat export %s --out %s-bundle",
        in_words(after),
        out.name if out.is_absolute() else out,
        out.name,
    )
    if result["films"].get("left_out"):
        raise typer.Exit(SOME_FAILED)


@contextmanager
def _step_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Give a function that shows (stage, steps done, steps in all): a bar on a terminal, else nothing."""
    if is_quiet() or not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress, TaskID

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done)

        yield show
