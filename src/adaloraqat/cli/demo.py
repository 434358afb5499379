"""`adaloraqat demo`: adapt, compress, compare and segment in a few minutes, on films drawn for it."""

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from adaloraqat.cli.console import SOME_FAILED, progress, tell
from adaloraqat.cli.options import TrainingThreads, set_up_torch

log = logging.getLogger("adaloraqat")

_FEW = 24  # phantoms that the foundation model is adapted to: it needs no more


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the demo; an earlier demo there is replaced.")
    ] = Path("demo"),
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe (repeatable)."),
    ] = None,
    foundation: Annotated[
        bool,
        typer.Option("--foundation", help="Start from the published LiteMedSAM, which takes longer."),
    ] = False,
    films: Annotated[
        int | None,
        typer.Option(min=12, help="Phantoms to draw.", show_default="90; 24 with --foundation"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Manifest (CSV) of your own films, to be used instead of phantoms.")
    ] = None,
    threads: TrainingThreads = None,
) -> None:
    """Train, compress and segment in a few minutes, on phantoms: every step from films to INT8 masks.

    The exit code is 1 unless training raises the validation Dice by 0.05 and INT8 loses less than 0.01 of it.
    """
    set_up_torch(threads)
    from adaloraqat.experiments.demo import DemoPlan, run_demo
    from adaloraqat.training.recipe import SHIPPED_RECIPES, load_recipe

    # by its path: a folder of the name demo, such as the last demo's, must not be taken for the recipe
    name = "demo-foundation.yaml" if foundation else "demo.yaml"
    recipe = load_recipe(SHIPPED_RECIPES / name, tuple(settings or ()))
    plan = DemoPlan(films=films or (_FEW if foundation else DemoPlan.films), data=data)
    document = run_demo(recipe, out, plan, report=tell, progress=progress)
    for line in summary(document, out):
        typer.echo(line)
    for failure in document["verdict"]["failures"]:
        log.error("%s", failure)
    if not document["verdict"]["passed"]:
        raise typer.Exit(SOME_FAILED)


def summary(document: dict[str, Any], out: Path) -> list[str]:
    """Return what the terminal shows at the end: the table, the files and the next command."""
    head = f"{'model':16} {'Dice no box':>11} {'true box':>9} {'worst':>7} {'MB':>7} {'speed':>7}"
    lines = ["", head, "-" * len(head)]
    for model in document["models"]:
        size = "-" if model["bytes"] is None else f"{model['bytes'] / 1e6:.1f}"
        lines.append(
            f"{model['name']:16} {model['dice_no_box']:11.4f} {model['dice_true_box']:9.4f} "
            f"{model['worst']:7.3f} {size:>7} {model['speedup']:6.2f}x"
        )
    verdict, training, films = document["verdict"], document["training"], document["films"]
    return [
        *lines,
        "",
        f"{films['val']} validation films; speed against the adapted model in PyTorch.",
        f"Took {document['timing']['minutes']}.",
        f"Ranks: {training['components_before']} components pruned to {training['components_after']}.",
        f"{'Passed' if verdict['passed'] else 'NOT passed'}: training {verdict['gain']:+.4f} Dice, "
        f"INT8 {verdict['change']:+.4f}.",
        "",
        f"Report      {out / 'report.html'}",
        f"Bundle      {out / 'bundle'}",
        f"Masks       {out / 'segmented'}",
        f"Numbers     {out / 'demo.json'}",
        "",
        f"Next: {document['next_command']}",
    ]
