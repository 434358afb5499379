"""`adaloraqat train`: adapt a model to a person's films, by a recipe."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.console import INTERRUPTED, SOME_FAILED
from adaloraqat.cli.options import TrainingThreads

log = logging.getLogger("adaloraqat")


def train(
    recipe: Annotated[
        Path, typer.Argument(help="A YAML recipe, for example recipes/demo.yaml.", show_default=False)
    ],
    data: Annotated[
        Path, typer.Option("--data", help="Manifest (CSV) with train and val films.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Run folder to write.", show_default=False)],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one value of the recipe: stages.0.schedule.epochs=5."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run in --out.")] = False,
    threads: TrainingThreads = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            envvar="ADALORAQAT_FILM_CACHE", help="Folder that keeps decoded films for this and other runs."
        ),
    ] = None,
) -> None:
    """Run every stage of RECIPE on the films of a manifest; stop and --resume at any moment."""
    from adaloraqat.cli.options import set_up_torch

    set_up_torch(threads)
    from adaloraqat.training import load_recipe
    from adaloraqat.training.train import train as run_recipe
    from adaloraqat.training.validate import in_words

    settled = load_recipe(recipe, tuple(settings or ()))
    try:
        with _step_bar() as steps:
            result = run_recipe(
                settled,
                data,
                out,
                resume=resume,
                report=lambda line: log.info("%s", line),
                on_step=steps,
                cache=cache,
            )
    except KeyboardInterrupt as error:
        log.error("Stopped by Ctrl-C: the same command with --resume continues after the last whole epoch.")
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
    if not sys.stderr.isatty():
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
