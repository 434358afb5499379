"""`adaloraqat report`: a table of methods, trained where missing, with its statistics, figures and page."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.options import TrainingThreads

log = logging.getLogger("adaloraqat")


def report(
    recipe: Annotated[
        Path, typer.Argument(help="A table recipe, such as recipes/tables/1.yaml.", show_default=False)
    ],
    data: Annotated[
        Path, typer.Option("--data", help="Manifest (CSV) with train, val and test.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the table, scores and report.html.", show_default=False)
    ],
    runs: Annotated[Path, typer.Option("--runs", help="Folder of run folders: reused, and added to.")] = Path(
        "runs"
    ),
    audit: Annotated[
        Path | None, typer.Option("--audit", help="audit.json of these films, for the page.")
    ] = None,
    analysis: Annotated[
        Path | None, typer.Option("--analysis", help="Folder written by analyse, for the page.")
    ] = None,
    robustness: Annotated[
        Path | None, typer.Option("--robustness", help="Folder written by robustness, for the page.")
    ] = None,
    threads: TrainingThreads = None,
) -> None:
    """Make a table of the paper: train what is missing, reuse what is there, score, test, write.

    A film that is missing, cannot be read or cannot be segmented counts as the worst score, and the command
    ends with 1; training goes on without films that cannot be used.

    Interrupted, the same command continues. Writes table.csv, .md, .tex and .json, report.html, figures/.
    """
    from adaloraqat.cli.console import progress
    from adaloraqat.cli.evaluate import end_where_some_failed
    from adaloraqat.cli.options import set_up_torch

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
        lambda line: log.info("%s", line),
        progress,
    )
    shown = document | {"seed": table.seed}
    write_page(out / "report.html", shown, table.prompts, methods, entries, out / "scores", extras)
    typer.echo((out / "table.md").read_text(encoding="utf-8"))
    end_where_some_failed((film for method in methods for film in method.films), "films.csv")
