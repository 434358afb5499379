"""`adaloraqat analyse`: quantisation errors and sensitivity of a run."""

from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.console import SOME_FAILED, tell
from adaloraqat.cli.options import Policy, TrainingThreads, one_of, set_up_torch


def analyse(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
    data: Annotated[
        Path, typer.Option("--data", help="Manifest (CSV) with train and val films.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for figures and analysis.json.", show_default=False)
    ],
    stage: Annotated[
        str | None, typer.Option(help="Stage to analyse.", show_default="the last finished")
    ] = None,
    policy: Annotated[
        list[Policy] | None,
        typer.Option(
            metavar="POLICY",
            help=f"Policy whose errors to draw (repeatable): {one_of(Policy)}.",
            show_default="int8 and paper",
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="Validation Dice that the proposed policy may cost.")
    ] = 0.002,
    films: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Validation films to rank the layers with; the proposal is checked on all of them.",
        ),
    ] = 64,
    threads: TrainingThreads = None,
) -> None:
    """Measure what INT8 costs, layer by layer, and draw its errors in weights and activations.

    To write the bundle that the result proposes, use `adaloraqat export --precision auto`.
    """
    set_up_torch(threads)
    from adaloraqat.experiments.analysis import analyse as run_analysis
    from adaloraqat.training.run import load_run

    document = run_analysis(
        load_run(run, stage),
        data,
        out,
        tuple(policy or ("int8", "paper")),
        max_drop,
        tell,
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
