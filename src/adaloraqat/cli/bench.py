"""`adaloraqat bench`: bundles side by side on this computer; latencies in turns, sizes by the file system."""

import logging
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.timing import median_ratio
from adaloraqat.cli.console import print_json
from adaloraqat.cli.info import computer, file_sizes
from adaloraqat.cli.options import EngineName, JsonFlag, Threads, complete_model, one_of
from adaloraqat.evaluate.machine import TIMED_SHAPE, segmenter_times

log = logging.getLogger("adaloraqat")


def bench(
    bundles: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL", help="Names of models, or paths of bundles.", autocompletion=complete_model
        ),
    ],
    engine: Annotated[
        list[EngineName] | None,
        typer.Option(
            metavar="ENGINE",
            help=f"Engine to run them with (repeatable): {one_of(EngineName)}.",
            show_default="onnxruntime",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(metavar="N", min=1, help="How often to run each bundle.")] = 20,
    threads: Threads = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare the speed and size of bundles on this computer.

    The bundles take turns on one phantom film, from pixels to mask, without a box. Speed-ups are relative to
    the first one: the median over all turns.
    """
    candidates: dict[str, Segmenter] = {}
    for name in bundles:
        for runtime in engine or [EngineName.onnxruntime]:
            label = f"{Path(name).name} ({runtime})" if engine else Path(name).name
            again = f" #{len(candidates) + 1}" if label in candidates else ""
            candidates[label + again] = Segmenter.load(name, runtime, threads)
    for segmenter in candidates.values():
        for warning in segmenter.warnings:
            log.warning("%s", warning)
    document = {
        **computer(),
        "film": list(TIMED_SHAPE),
        "repeats": repeats,
        "threads": threads,
        "candidates": measure(candidates, repeats),
    }
    if as_json:
        print_json(document)
    else:
        for line in _table(document):
            typer.echo(line)


def measure(candidates: dict[str, Segmenter], repeats: int) -> dict[str, dict[str, Any]]:
    """Latency (ms), speed-up against the first candidate, and bytes of every candidate."""
    times = segmenter_times(candidates, repeats)
    reference = next(iter(candidates))
    return {
        name: {
            "bundle": segmenter.bundle.name,
            "engine": segmenter.engine.name,
            "policy": segmenter.bundle.precision.policy,
            "weight_range": segmenter.bundle.precision.weight_range,
            "milliseconds": round(median(times[name]), 3),
            "milliseconds_least": round(min(times[name]), 3),
            "speedup": round(median_ratio(times, name, reference), 3),
            "bytes": file_sizes(segmenter.bundle),
        }
        for name, segmenter in candidates.items()
    }


def _table(document: dict[str, Any]) -> list[str]:
    width = max(len(name) for name in document["candidates"])
    lines = [f"{document['cpu']}, VNNI: {document['vnni']}", f"{'':{width}}  median ms  speed-up         MB"]
    for name, row in document["candidates"].items():
        size = row["bytes"]["total"] / 1e6
        lines.append(f"{name:{width}}  {row['milliseconds']:9.2f}  {row['speedup']:7.2f}x  {size:9.2f}")
    return lines
