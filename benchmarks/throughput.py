"""Does training wait for its data? Films a second of the loader and of training, in turns, in one run.

    python benchmarks/throughput.py [--data MANIFEST] [--films 256] [--threads 2]

The loader draws, augments and prompts batches exactly as a step of recipes/lung-field-fast.yaml does; training is that
step with the small model in bfloat16, forward, backward and AdamW. Also: decoding against the mapped cache.
Without a manifest, phantom films are drawn. Writes benchmarks/results/throughput.json.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from machine import machine

from adaloraqat.bundle.timing import interleaved, median_ratio
from adaloraqat.datasets.manifest import Entry, read_manifest
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.training import load_recipe
from adaloraqat.training.films import load_films
from adaloraqat.training.loop import RunContext, StageTraining
from adaloraqat.training.recipe import SHIPPED_RECIPES
from adaloraqat.training.run import load_start
from adaloraqat.training.run_films import RunFilms
from adaloraqat.training.run_folder import RunFolder
from adaloraqat.training.structure import usual_preprocessing

ROOT = Path(__file__).resolve().parents[1]
RECIPE = SHIPPED_RECIPES / "lung-field-fast.yaml"
WANTED = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--films", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as name:
        entries = films_of(options.data, options.films, Path(name))
        recipe = load_recipe(RECIPE)
        model, structure = load_start(recipe.base, recipe.seed)
        reading = measure_reading(entries, structure.architecture, Path(name) / "cache")
        films = RunFilms(entries, entries[:1], Path(name) / "cache")
        cpu, folder = torch.device("cpu"), RunFolder(Path(name) / "run")
        context = RunContext(recipe, films, folder, {}, cpu, report=print, on_step=print)
        loading, training = steps_of(StageTraining(context, 0, model, structure))
        times = interleaved({"loader": loading, "training": training}, options.repeats, warmup=1)
    batch = recipe.stages[0].schedule.batch_size
    result = {
        "ratio": round(median_ratio(times, "loader", "training"), 2),
        "wanted": WANTED,
        "films_a_second": {key: round(1000 * batch / median(own), 1) for key, own in times.items()},
        "milliseconds": {key: [round(one, 1) for one in own] for key, own in times.items()},
        "batch": batch,
        "image_size": structure.architecture["image_size"],
        "precision": "bfloat16",
        "threads": options.threads,
        "films": {
            "count": len(entries),
            "kind": "phantom" if options.data is None else "manifest",
            **reading,
        },
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "machine": machine(),
        "command": "python benchmarks/throughput.py" + (" --data MANIFEST" if options.data else ""),
    }
    (ROOT / "benchmarks/results/throughput.json").write_text(json.dumps(result, indent=1) + "\n")
    print(
        json.dumps(
            {key: result[key] for key in ("ratio", "films_a_second", "films", "peak_rss_mb")}, indent=1
        )
    )


def films_of(data: Path | None, count: int, folder: Path) -> list[Entry]:
    if data is None:
        return write_phantoms(folder / "phantoms", count, seed=0, size=512)
    entries = read_manifest(data)
    return entries[:: max(1, len(entries) // count)][:count]


def measure_reading(entries: list[Entry], architecture: dict, cache: Path) -> dict:
    """Return how long films take to decode and to map again."""
    preprocessing = usual_preprocessing(architecture)
    seconds = []
    for folder in (None, cache, cache):
        started = time.perf_counter()
        load_films(entries, preprocessing, folder)
        seconds.append(time.perf_counter() - started)
    decode, write, mapped = seconds
    return {
        "decoded_a_second": round(len(entries) / decode, 1),
        "decoded_into_cache_a_second": round(len(entries) / write, 1),
        "mapped_a_second": round(len(entries) / mapped, 1),
    }


def steps_of(stage: StageTraining) -> tuple:
    """Return the two candidates: the data of one step, and one step of training on new data each time."""
    numbers: Iterator[int] = iter(range(1_000_000))
    stage.model.train()

    def loading() -> None:
        stage.batches.draw(next(numbers))

    return loading, stage.step


if __name__ == "__main__":
    main()
