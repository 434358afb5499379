"""`adaloraqat report`: a table of methods, trained where missing, with its statistics, figures and page."""

from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.console import progress, tell
from adaloraqat.cli.options import TrainingThreads, set_up_torch


def report(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE", help="A table recipe (YAML), such as recipes/tables/1.yaml.", show_default=False
        ),
    ],
    data: Annotated[
        Path,
        typer.Option("--data", help="Manifest (CSV) with train, val and test films.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for the table, scores and report.html.", show_default=False),
    ],
    runs: Annotated[
        Path, typer.Option("--runs", help="Folder of trained runs; missing ones are added.")
    ] = Path("runs"),
    audit: Annotated[
        Path | None, typer.Option("--audit", help="Show this audit.json of the films on the page.")
    ] = None,
    analysis: Annotated[
        Path | None, typer.Option("--analysis", help="Show the results in this folder, written by analyse.")
    ] = None,
    robustness: Annotated[
        Path | None,
        typer.Option("--robustness", help="Show the results in this folder, written by robustness."),
    ] = None,
    threads: TrainingThreads = None,
) -> None:
    """Compare methods in a table, with statistics: train what is missing, score it, and write the report.

    Writes table.csv, table.md, table.tex, table.json, report.html and a folder of figures. If interrupted,
    run the same command again to continue.

    Training skips films that cannot be used. In scoring, a film that cannot be read or segmented gets the
    worst score, and the exit code is 1.
    """
    from adaloraqat.cli.evaluate import end_where_some_failed

    set_up_torch(threads)
    from adaloraqat.experiments.recipe import load_table
    from adaloraqat.experiments.table import make_table
    from adaloraqat.report.audit_page import audit_of
    from adaloraqat.report.quantisation import analysis_of
    from adaloraqat.report.robustness import robustness_of
    from adaloraqat.report.table_page import write_page

    table = load_table(recipe)
    extras = {
        "audit": audit_of(audit),
        "analysis": analysis_of(analysis) if analysis else [],
        "robustness": robustness_of(robustness) if robustness else [],
    }
    command = f"adaloraqat report {recipe.name if recipe.is_absolute() else recipe} --data MANIFEST --out OUT"
    document, methods, entries = make_table(
        table,
        data,
        runs,
        out,
        command,
        tell,
        progress,
    )
    shown = document | {"seed": table.seed}
    write_page(out / "report.html", shown, table.prompts, methods, entries, out / "scores", extras)
    typer.echo((out / "table.md").read_text(encoding="utf-8"))
    end_where_some_failed((film for method in methods for film in method.films), "films.csv")
