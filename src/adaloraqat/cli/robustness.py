"""`adaloraqat robustness`: the same films under fixed corruptions, and with carelessly drawn boxes."""

from pathlib import Path
from typing import Annotated

import typer


def robustness(
    models: Annotated[
        list[str],
        typer.Argument(metavar="BUNDLE_OR_RUN...", help="Shipped names, bundle folders or run folders."),
    ],
    data: Annotated[Path, typer.Option("--data", help="Manifest (CSV) with masks.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for robustness.json, .csv and .md.", show_default=False)
    ],
    split: Annotated[
        str, typer.Option("--split", help="Which split to score: train, val, test, or all.")
    ] = "test",
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Only films of this source; may be repeated.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many films, evenly spread.")
    ] = None,
    corruption: Annotated[
        list[str] | None,
        typer.Option("--corruption", help="Only this corruption; may be repeated. [default: all]"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all that is drawn.")] = 0,
    engine: Annotated[
        str, typer.Option("--engine", help="onnxruntime or openvino (bundles only).")
    ] = "onnxruntime",
    json_: Annotated[bool, typer.Option("--json", help="Print robustness.json on stdout.")] = False,
) -> None:
    """Score models on films rotated, inverted, underexposed, cropped and so on, and with jittered boxes.

    A film that is missing, cannot be read or cannot be segmented counts as the worst score, and the command
    ends with 1.

    The same command continues where it was interrupted.
    """
    from adaloraqat.cli.console import print_json, progress
    from adaloraqat.cli.evaluate import end_where_some_failed, load_models
    from adaloraqat.errors import FilmError
    from adaloraqat.evaluate.evaluation import robustness as score
    from adaloraqat.evaluate.films import choose_scored, spread
    from adaloraqat.evaluate.score import Settings
    from adaloraqat.evaluate.store import read_scores
    from adaloraqat.radiograph.corrupt import CORRUPTIONS
    from adaloraqat.report.robustness import markdown, write_tables

    for name in corruption or ():
        if name not in CORRUPTIONS:
            raise FilmError(f"There is no corruption {name!r}: choose among {', '.join(CORRUPTIONS)}.")
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
