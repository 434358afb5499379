"""`adaloraqat robustness`: the same films under fixed corruptions, and with carelessly drawn boxes."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.options import EngineName, ScoredSplit, ScoringEngine, Split, complete_model, one_of


class CorruptionName(StrEnum):
    """What is done to films (`radiograph.corrupt.CORRUPTIONS`)."""

    clean = "clean"
    rotated_5 = "rotated_5"
    rotated_10 = "rotated_10"
    rotated_15 = "rotated_15"
    inverted = "inverted"
    low_exposure = "low_exposure"
    low_contrast = "low_contrast"
    noisy = "noisy"
    blurred = "blurred"
    cropped = "cropped"
    collimated = "collimated"
    foreign_border = "foreign_border"
    jpeg_30 = "jpeg_30"


def robustness(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Names of models, bundle folders or run folders.",
            autocompletion=complete_model,
        ),
    ],
    data: Annotated[Path, typer.Option("--data", help="Manifest (CSV) with masks.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for robustness.json, .csv and .md.", show_default=False),
    ],
    split: ScoredSplit = Split.test,
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Score films of this source only (repeatable).")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Score at most N films, evenly spread.")
    ] = None,
    corruption: Annotated[
        list[CorruptionName] | None,
        typer.Option(
            "--corruption",
            metavar="NAME",
            help=f"Apply this corruption only (repeatable): {one_of(CorruptionName)}.",
            show_default="all",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 0,
    engine: ScoringEngine = EngineName.onnxruntime,
    json_: Annotated[bool, typer.Option("--json", help="Print robustness.json instead of text.")] = False,
) -> None:
    """Score models on corrupted films (rotated, noisy, cropped, …) and with jittered boxes.

    If interrupted, run the same command again to continue.

    A film that cannot be read or segmented gets the worst score, and the exit code is 1.
    """
    from adaloraqat.cli.console import print_json, progress
    from adaloraqat.cli.evaluate import end_where_some_failed, load_models
    from adaloraqat.evaluate.evaluation import robustness as score
    from adaloraqat.evaluate.films import choose_scored, spread
    from adaloraqat.evaluate.score import Settings
    from adaloraqat.evaluate.store import read_scores
    from adaloraqat.radiograph.corrupt import CORRUPTIONS
    from adaloraqat.report.robustness import markdown, write_tables

    chosen = choose_scored(data, split, source or None)
    settings = Settings(tuple(corruption or CORRUPTIONS), seed=seed)
    films = spread(chosen, limit or len(chosen))
    document = score(load_models(models, engine), films, out, progress, settings)
    write_tables(document, out)
    if json_:
        print_json(document)
    else:
        typer.echo(markdown(document).rstrip())
    asked = {(row["condition"], row["model"]) for row in document["rows"]}
    known = read_scores(out)  # perhaps of further models and corruptions, from before
    rows = [row for (_, *which), found in known.items() if tuple(which) in asked for row in found]
    end_where_some_failed(rows, "films.jsonl")
