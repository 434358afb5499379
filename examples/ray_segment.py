"""Segment a folder of films on many machines with Ray Data: every actor writes a shard of its own.

    pip install . ./packages/weights 'ray[data]'    # in a clone of adaloraqat
    python examples/ray_segment.py films/ masks/ --actors 2

`masks/` must be a folder that all machines see. It holds `shard-0`, `shard-1`, …: each a results.jsonl in the
format of `adaloraqat segment --workers` (docs/batch.md), with its masks. The same call again does what
is missing.
"""

import argparse
import time
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import ray

from adaloraqat import FilmError, OutputError, Segmenter
from adaloraqat.batch import FilmEntry, FilmStamp, ResultsFile, Settings
from adaloraqat.bundle import load_bundle
from adaloraqat.radiograph import find_films

OPTIONS = {"box": None}  # all that changes results, beside the model


class Shard:
    """An actor: its own model, and the first shard that no other process holds."""

    def __init__(self, model: str, out: Path) -> None:
        self._segmenter = Segmenter.load(model, threads=1)
        settings = Settings.of(self._segmenter.bundle, OPTIONS)
        for number in count():
            self._folder = out / f"shard-{number}"
            try:
                self._results = ResultsFile(self._folder, settings, resume=True)
                return
            except OutputError as error:
                if "Another process" not in str(error):
                    raise

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Segment the film of one row, write its mask, then its line."""
        source, name = Path(row["source"]), row["name"]
        stamp = FilmStamp.of(name, source)
        try:
            result = self._segmenter.segment(source)
        except FilmError as error:
            self._results.append(stamp, FilmEntry(name, error=str(error)), "film")
            return {"name": name, "error": str(error)}
        mask = f"{name}_mask.png"
        result.save(self._folder / mask)
        self._results.append(stamp, replace(FilmEntry.of(result), path=name, mask=mask))
        return {"name": name, "error": None}


def left_to_do(films: Path, out: Path, settings: Settings) -> list[dict[str, str]]:
    """Return a row for each film that no shard has; lines of films that changed are taken out."""
    with ExitStack() as held:
        shards = [held.enter_context(_when_free(folder, settings)) for folder in out.glob("shard-*")]
        rows = []
        for film in find_films(films):
            name = film.relative_to(films).as_posix()
            stamp = FilmStamp.of(name, film)
            if not any(shard.is_done(stamp) for shard in shards):
                rows.append({"source": str(film), "name": name})
        for shard in shards:
            shard.forget(row["name"] for row in rows)
    return rows


def _when_free(folder: Path, settings: Settings, patience: float = 60) -> ResultsFile:
    """Open a shard; the actors of an earlier call may take some seconds to end."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return ResultsFile(folder, settings, resume=True)
        except OutputError as error:
            if "Another process" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def segment_folder(
    films: Path, out: Path, model: str = "lung-field", actors: int = 2
) -> list[dict[str, Any]]:
    """Segment what is left of a folder; return {"name", "error"} of each film done now."""
    films, out = films.absolute(), out.absolute()
    rows = left_to_do(films, out, Settings.of(load_bundle(model), OPTIONS))
    if not rows:
        return []
    done = ray.data.from_items(rows, override_num_blocks=min(len(rows), 8 * actors)).map(
        Shard,
        fn_constructor_kwargs={"model": model, "out": out},
        compute=ray.data.ActorPoolStrategy(size=actors),
    )
    return done.take_all()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("films", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="lung-field")
    parser.add_argument("--actors", type=int, default=2)
    given = parser.parse_args()
    for done in segment_folder(given.films, given.out, given.model, given.actors):
        print(done["name"], done["error"] or "done")
