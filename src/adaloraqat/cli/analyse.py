"""`adaloraqat analyse`: quantisation errors and sensitivity of a run."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.console import SOME_FAILED
from adaloraqat.cli.options import TrainingThreads

log = logging.getLogger("adaloraqat")


def analyse(
    run: Annotated[Path, typer.Argument(help="A run folder written by train.", show_default=False)],
    data: Annotated[
        Path, typer.Option("--data", help="Manifest (CSV) with train and val.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for figures and analysis.json.", show_default=False)
    ],
    stage: Annotated[str | None, typer.Option(help="Which finished stage; default: the last.")] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="Whose errors are drawn; may be repeated. [default: int8 paper]")
    ] = None,
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="Validation Dice that the proposed policy may cost.")
    ] = 0.002,
    films: Annotated[
        int, typer.Option(min=1, help="Validation films that rank the groups; the proposal is proved on all.")
    ] = 64,
    threads: TrainingThreads = None,
) -> None:
    """Draw what INT8 does to weights and activations, and measure which layers can bear it.

    `export --precision auto --max-drop` writes the bundle that the measurement proposes.
    """
    from adaloraqat.cli.options import set_up_torch

    set_up_torch(threads)
    from adaloraqat.experiments.analysis import analyse as run_analysis
    from adaloraqat.training.run import load_run

    document = run_analysis(
        load_run(run, stage),
        data,
        out,
        tuple(policy or ("int8", "paper")),
        max_drop,
        lambda line: log.info("%s", line),
        films,
    )
    found = document["sensitivity"]
    for group in found["groups"]:
        typer.echo(f"{group['drop']:+.5f}  {group['group']} ({group['modules']} layers)")
    kept = ", ".join(found["kept_float"]) or "nothing"
    typer.echo(
        f"float {found['dice_float']:.4f}, proposed {found['dice']:.4f} (at most {max_drop:g} less); "
        f"kept in float: {kept}"
    )
    if document["films"]["left_out"]:
        raise typer.Exit(SOME_FAILED)
