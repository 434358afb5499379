"""Two questions, one loop: how good are models on films, and what is left of it under a ward's conditions?"""

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adaloraqat.bundle import Segmenter
from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import OutputError
from adaloraqat.evaluate.comparisons import check_choices, comparisons
from adaloraqat.evaluate.machine import environment
from adaloraqat.evaluate.predictions import mask_folder
from adaloraqat.evaluate.rows import NO_BOX, TRUE_BOX, FilmRow, write_rows
from adaloraqat.evaluate.score import AS_IS, JITTER_GRID, Scored, Settings, score
from adaloraqat.evaluate.store import Store, setup_of
from adaloraqat.evaluate.summary import LEVEL, numbers, summarise
from adaloraqat.files import check_folder, write_json
from adaloraqat.measure.film_scores import DEFAULT_TOLERANCES
from adaloraqat.measure.statistics import bootstrap_mean
from adaloraqat.measure.statistics.compare import DEFAULT_MARGIN
from adaloraqat.progress import Progress, no_progress
from adaloraqat.radiograph.corrupt import CLEAN, CORRUPTIONS
from adaloraqat.renamed import renamed_arguments

UNFINISHED = "unfinished"
"""Folder below an evaluation's own that holds the scores of an interrupted one; it goes with the end."""

WARD = Settings()
"""Every corruption, and the true box jittered: what `robustness` does unless told otherwise."""


@dataclass(frozen=True)
class Options:
    """What an evaluation measures and compares.

    Attributes:
        tolerances: of the NSD, in mm where the spacing is known, else px.
        reference: the model that the others are compared with; None means the first.
        margin: of non-inferiority and equivalence, in Dice, fixed beforehand.
        seed: of the bootstrap.
        clicks: how many simulated clicks a model that takes points is scored after, one by one.
        corrections: how many clicks that correct its automatic mask it is scored after, one by one.
    """

    tolerances: tuple[float, ...] = DEFAULT_TOLERANCES
    reference: str | None = None
    margin: float = DEFAULT_MARGIN
    seed: int = 0
    clicks: int = 0
    corrections: int = 0


def _check_masks_apart(entries: Sequence[Entry], out: Path) -> None:
    """Refuse films whose own masks lie where masks are saved: one could be written over.

    Raises:
        OutputError: names the first.
    """
    saved = Path(os.path.realpath(mask_folder(out)))
    for entry in entries:
        places = (os.path.abspath(entry.path_mask), os.path.realpath(entry.path_mask))
        if any(Path(place).is_relative_to(saved) for place in places):
            raise OutputError(
                f"The mask of film {entry.id} lies in {out.name}/{saved.name}, where `evaluate` saves masks: "
                "choose another --out."
            )


@renamed_arguments(each="progress")
def evaluate(
    models: Mapping[str, Scored],
    entries: Sequence[Entry],
    out: Path,
    progress: Progress = no_progress,
    options: Options = Options(),
) -> dict[str, Any]:
    """Score `models` on `entries`; write masks, `films.csv` and `evaluation.json` to `out`.

    Interrupted, the same call continues where it stopped. A finished evaluation is done again. Masks that an
    earlier one left of a film that fails now are removed.

    Args:
        models: by the name that stands in the tables.
        entries: films with masks.
        out: folder for the results.
        progress: shows how many films are done.
        options: tolerances, reference, margin and seed.

    Returns:
        the content of evaluation.json: `films`, the `fingerprint` of their images and masks, the options, and
        `models`: per model, source and prompt the numbers of `summary.numbers`; with two models or more also
        `comparisons`, see `comparisons.comparisons`.

    Raises:
        OutputError: `out` cannot be written, or masks of films lie where it would write; there is no
            evaluation.json then.
        AdaloraqatError: the options do not fit the models.
    """
    check_choices(list(models), options.reference, options.margin, options.tolerances)
    check_folder(out)
    _check_masks_apart(entries, out)
    clicks = (options.clicks, options.corrections)
    settings = Settings((AS_IS,), (), options.tolerances, options.seed, *clicks)
    setup = setup_of(models, entries, (), settings.tolerances, settings.seed, *clicks, labels=True)
    store = Store(out / UNFINISHED, setup, replace=True)
    found = score(models, entries, settings, store, progress, masks=out)
    place = {entry.id: number for number, entry in enumerate(entries)}
    rows = sorted((row for own in found.values() for row in own), key=lambda row: place[row.id])
    document: dict[str, Any] = {
        "films": len(entries),
        "fingerprint": setup["fingerprint"],
        "tolerances": list(options.tolerances),
        "interval_level": LEVEL,
        "seed": options.seed,
        "models": {name: summarise(found[name, AS_IS], options.tolerances, options.seed) for name in models},
    }
    if len(models) > 1:
        document["comparisons"] = comparisons(
            rows, list(models), options.tolerances, options.reference, options.margin, options.seed
        )
    write_rows(out / "films.csv", rows)
    write_json(out / "evaluation.json", document)
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    return document


@renamed_arguments(each="progress")
def robustness(
    models: Mapping[str, Segmenter],
    entries: Sequence[Entry],
    out: Path,
    progress: Progress = no_progress,
    settings: Settings = WARD,
) -> dict[str, Any]:
    """Score `models` on `entries` in every condition; write `robustness.json` to `out`.

    Args:
        models: by the name that stands in the tables.
        entries: films with masks.
        out: folder for the results; what an earlier, interrupted call left there is used, but films that
            failed are tried again.
        progress: shows how many films are done.
        settings: conditions ("clean" is always among them), jitters, tolerances and seed.

    Returns:
        the content of robustness.json: what was done, and `rows`, one for a model, condition and prompt, with
        the numbers of `summary.numbers`, `drop` (clean minus corrupted mean Dice on the same films, with the
        same prompt; a jittered box against the true one) and its 95 % interval `drop_interval`.

    Raises:
        OutputError: `out` holds results of something else or cannot be written, or there is no space for a
            temporary film; the same call continues where it stopped.
        AdaloraqatError: an unknown condition.
    """
    settings = replace(settings, conditions=tuple(dict.fromkeys((CLEAN, *settings.conditions))))
    setup = setup_of(models, entries, settings.jitters, settings.tolerances, settings.seed)
    found = score(models, entries, settings, Store(out, setup), progress)
    document = {
        "films": len(entries),
        "sources": sorted({entry.source for entry in entries}),
        "fingerprint": setup["fingerprint"],
        "seed": settings.seed,
        "tolerances": list(settings.tolerances),
        "jitter_grid": JITTER_GRID,
        "conditions": {name: CORRUPTIONS[name].description for name in settings.conditions},
        "environment": environment(),
        "rows": [
            {
                "model": model,
                "condition": condition,
                "prompt": prompt,
                **numbers(own, settings.tolerances, settings.seed),
                **drop(own, found[model, CLEAN], settings.seed),
            }
            for (model, condition), rows in found.items()
            for prompt in dict.fromkeys(row.prompt for row in rows)
            if (own := [row for row in rows if row.prompt == prompt])
        ],
    }
    write_json(out / "robustness.json", document)
    return document


def drop(rows: Sequence[FilmRow], clean: Sequence[FilmRow], seed: int) -> dict[str, Any]:
    """Return how much Dice is lost against clean films with the same prompt (the true box, for any box)."""
    prompt = NO_BOX if rows[0].prompt == NO_BOX else TRUE_BOX
    before = {row.id: row for row in clean if row.prompt == prompt}
    pairs = [(before[row.id], row) for row in rows if row.id in before]
    if not pairs or rows[0] is pairs[0][0]:
        return {"drop": None, "drop_interval": None}
    lost = [first.scores["dice"] - second.scores["dice"] for first, second in pairs]
    interval = None
    if not any(row.lost for pair in pairs for row in pair):  # failures and scores have no interval together
        low, high = bootstrap_mean(lost, [row.patient_id for _, row in pairs], seed)
        interval = [low, high] if math.isfinite(low) else None
    return {"drop": sum(lost) / len(lost), "drop_interval": interval}
