"""`adaloraqat evaluate`: score bundles and runs side by side against a manifest's masks."""

import logging
import os
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaloraqat.cli.console import SOME_FAILED, print_json, progress
from adaloraqat.cli.options import EngineName, ScoredSplit, ScoringEngine, Split, complete_model, set_up_torch

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from adaloraqat.bundle import Segmenter
    from adaloraqat.datasets.manifest import Entry
    from adaloraqat.evaluate.rows import FilmRow
    from adaloraqat.evaluate.score import Scored

log = logging.getLogger("adaloraqat")


def evaluate(
    data: Annotated[Path, typer.Option("--data", help="Manifest (CSV) with masks.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder for masks, films.csv and evaluation.json.", show_default=False
        ),
    ],
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Names of models, bundle folders or run folders.",
            autocompletion=complete_model,
        ),
    ] = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option(
            "--predictions",
            metavar="NAME=DIR",
            help="Also score masks that another program made without a box (repeatable).",
        ),
    ] = None,
    split: ScoredSplit = Split.test,
    engine: ScoringEngine = EngineName.onnxruntime,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="NAME",
            help="Model to compare the others with.",
            show_default="the first",
        ),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(
            "--margin", help="Loss of Dice that still counts as non-inferior; choose it beforehand."
        ),
    ] = 0.005,
    tolerance: Annotated[
        list[float] | None,
        typer.Option(
            "--tolerance",
            metavar="DISTANCE",
            help="NSD tolerance, in mm where the pixel spacing is known, else in px (repeatable).",
            show_default="2 and 5",
        ),
    ] = None,
    clicks: Annotated[
        int,
        typer.Option(
            "--clicks",
            min=0,
            max=50,
            metavar="N",
            help="Also score after 1 to N simulated clicks (models that take points).",
        ),
    ] = 0,
    corrections: Annotated[
        int,
        typer.Option(
            "--corrections",
            min=0,
            max=50,
            metavar="N",
            help="Also score after 1 to N simulated clicks that correct the automatic mask.",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap intervals.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print evaluation.json instead of text.")] = False,
) -> None:
    """Score models against the masks of a manifest, without a box and with the true box.

    Writes the masks, films.csv (every measure of every film) and evaluation.json (means, intervals, failures
    and, with two models or more, paired comparisons with the reference).

    Networks that take no box, and masks from other programs, are scored without a box only.

    With --clicks, each click is placed where the mask so far is wrong, farthest inside the largest error
    region (the first one inside the true mask), and the mask is passed on. These prompts are named clicks_1
    to clicks_N. With --corrections, the clicks start from the mask without a box, and the prompts are named
    corrections_1 to corrections_N.

    A film that cannot be read or segmented gets the worst score, and the exit code is 1.
    """
    from adaloraqat.errors import BundleError
    from adaloraqat.evaluate.evaluation import Options
    from adaloraqat.evaluate.evaluation import evaluate as score
    from adaloraqat.evaluate.films import choose_scored
    from adaloraqat.evaluate.rows import read_rows
    from adaloraqat.measure.film_scores import DEFAULT_TOLERANCES

    chosen = choose_scored(data, split)
    scored: dict[str, Scored] = {**load_models(models or [], engine)}
    for name, masks in load_predictions(predictions or [], chosen).items():
        scored[_unused(name, scored)] = masks
    if not scored:
        raise BundleError("Nothing to score: name a bundle, a run, or --predictions NAME=DIR.")
    if clicks or corrections:
        check_clicks(scored, "--clicks" if clicks else "--corrections")
    options = Options(tuple(tolerance or DEFAULT_TOLERANCES), reference, margin, seed, clicks, corrections)
    summary = score(scored, chosen, out, progress, options)
    if json_:
        print_json(summary)
    else:
        for line in [*table(summary), *findings(summary)]:
            typer.echo(line)
    end_where_some_failed(read_rows(out / "films.csv"), "films.csv")


def end_where_some_failed(rows: "Iterable[FilmRow]", reasons: str) -> None:
    """Name the films that failed, and end the command with `SOME_FAILED`; do nothing where none did.

    Args:
        rows: every result.
        reasons: the file that says why.
    """
    from adaloraqat.datasets.names import some_of

    failed = [row.id for row in rows if row.failed]
    if not failed:
        return
    films = list(dict.fromkeys(failed))
    log.error(
        "%d results of %d film%s failed and got the worst score (%s); see %s for the reasons.",
        len(failed),
        len(films),
        "s" if len(films) > 1 else "",
        some_of(films),
        reasons,
    )
    raise typer.Exit(SOME_FAILED)


def check_clicks(models: "dict[str, Scored]", option: str = "--clicks") -> None:
    """Say which models take no points, which `option` needs.

    Raises:
        BundleError: none does.
    """
    from adaloraqat.errors import BundleError

    without = [name for name, model in models.items() if not model.accepts_points]
    if len(without) == len(models):
        raise BundleError(f"{option} needs a model that takes points; {', '.join(without)} does not.")
    for name in without:
        log.warning("%s takes no points and is scored without clicks.", name)


def load_predictions(given: list[str], entries: "Sequence[Entry]") -> "dict[str, Scored]":
    """Open what `--predictions NAME=DIR` names."""
    from adaloraqat.errors import ManifestError
    from adaloraqat.evaluate.predictions import Predictions

    found: dict[str, Scored] = {}
    for text in given:
        name, _, folder = text.partition("=")
        if not name or not folder or Path(name).name != name or name in found:
            raise ManifestError(
                f"--predictions {text} is not NAME=DIR with a new name, such as nnunet=predictions."
            )
        found[name] = Predictions(Path(folder), entries)
    return found


def load_models(models: list[str], engine: str) -> "dict[str, Segmenter]":
    """Load bundles and runs (every finished stage of a run), named so that no two share a name.

    What does not fit this CPU is warned of.
    """
    from adaloraqat.bundle import Segmenter

    segmenters: dict[str, Segmenter] = {}
    for model in models:
        folder = Path(os.path.abspath(model))  # so that `.` and `..` have a name too
        if (folder / "recipe.yaml").is_file():
            found = _run_segmenters(folder)
        else:
            found = {folder.name if folder.is_dir() else model: Segmenter.load(model, engine)}
        for name, segmenter in found.items():
            unique = _unused(name, segmenters)
            segmenters[unique] = segmenter
            for warning in segmenter.warnings:
                log.warning("%s: %s", unique, warning)
    return segmenters


def _unused(name: str, taken: "Container[str]") -> str:
    """Return `name`, with a number where it is taken."""
    numbered = (f"{name}-{number}" for number in count(1))
    return next(each for each in chain([name], numbered) if each not in taken)


def _run_segmenters(folder: Path) -> "dict[str, Segmenter]":
    set_up_torch()
    from adaloraqat.errors import CheckpointError
    from adaloraqat.training.run import finished_stages, load_run, run_segmenter

    stages = finished_stages(folder)
    if not stages:
        raise CheckpointError(
            f"{folder.name} has no finished stage yet: continue it with adaloraqat train --resume."
        )
    return {f"{folder.name}-{stage}": run_segmenter(load_run(folder, stage)) for stage in stages}


def table(summary: dict[str, Any]) -> list[str]:
    """Return the summary as lines of text, one model, source and prompt a line."""
    nsd = f"nsd_{summary['tolerances'][0]:g}"
    first = ("model", "source", "prompt", "films", "Dice", "95 % interval", "SD", "worst", "IoU")
    columns = (*first, f"NSD {summary['tolerances'][0]:g}", "HD95", "unit", "failed")
    rows: list[tuple[str, ...]] = [columns]
    for model, groups in summary["models"].items():
        for group, prompts in groups.items():
            for prompt, n in prompts.items():
                dice = (_cell(n["dice_mean"]), _interval(n["dice_interval"]), _cell(n["dice_sd"]))
                others = (_cell(n["dice_worst"], 3), _cell(n["iou_mean"]), _cell(n[f"{nsd}_mean"]))
                distance = (_cell(n["hd95_mean"], 2), n["unit"], str(n["failed"]))
                rows.append((model, group, prompt, str(n["films"]), *dice, *others, *distance))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def findings(summary: dict[str, Any]) -> list[str]:
    """Return what the comparisons of Dice show, a line each; nothing for a single model."""
    compared = summary.get("comparisons", {"rows": []})
    return [
        f"{row['source']}, {row['prompt'].replace('_', ' ')}: {row['sentence']}"
        for row in compared["rows"]
        if row["measure"] == compared["margin_measure"]
    ]


def _cell(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(interval: list[float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.4f}-{interval[1]:.4f}"
