"""`adaloraqat train`: adapt a model to a person's films, by a recipe."""

import logging
from pathlib import Path
from typing import Annotated

import typer

log = logging.getLogger("adaloraqat")


def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe, for example recipes/demo.yaml.", show_default=False)],
    data: Annotated[Path, typer.Option("--data", help="Manifest (CSV) with train and val films.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Run folder to write.", show_default=False)],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change one value: key=value, stages.0.schedule.epochs=5.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run in --out.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; equal numbers need equal threads.")] = None,
) -> None:
    """Run every stage of RECIPE on the films of a manifest; stop and --resume at any moment."""
    from adaloraqat.cli.torch_setup import set_up_torch

    set_up_torch(threads)
    from adaloraqat.training import load_recipe
    from adaloraqat.training.train import train as run_recipe

    result = run_recipe(
        load_recipe(recipe, tuple(settings or ())), data, out, resume=resume, report=lambda line: log.info("%s", line)
    )
    last = result["stages"][-1]
    log.info(
        "Done: validation Dice %.4f without a box, %.4f with the true box. Next: adaloraqat export %s --out %s-bundle",
        last["after"]["dice_no_box"],
        last["after"]["dice_box"],
        out,
        out.name,
    )
