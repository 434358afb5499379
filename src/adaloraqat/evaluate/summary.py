"""Means, spread, worst cases and intervals of film scores, by model, source and prompt."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adaloraqat.evaluate.rows import PROMPTS, FilmRow
from adaloraqat.measure.film_scores import has_unit, higher_is_better, measure_names
from adaloraqat.measure.statistics import bootstrap_means, failure_rate

ALL = "all"
MIXED = "mixed"
LEVEL = 0.95
STATISTICS = ("mean", "sd", "median", "worst", "interval", "kept_mean", "kept_interval")
"""What is said of each measure."""


def grouped(rows: Sequence[FilmRow]) -> dict[str, dict[str, list[FilmRow]]]:
    """Return rows by source, then by prompt; with several sources the group `all` holds every row."""
    sources = sorted({row.source for row in rows})
    groups = {source: [row for row in rows if row.source == source] for source in sources}
    if len(sources) > 1:
        groups[ALL] = list(rows)
    return {
        group: {
            prompt: [row for row in members if row.prompt == prompt]
            for prompt in dict.fromkeys((*PROMPTS, *(row.prompt for row in members)))
            if any(row.prompt == prompt for row in members)
        }
        for group, members in groups.items()
    }


def summarise(rows: Sequence[FilmRow], tolerances: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """Return numbers by source and prompt for the rows of one model, as `evaluation.json` holds them."""
    return {
        group: {prompt: numbers(members, tolerances, seed) for prompt, members in prompts.items()}
        for group, prompts in grouped(rows).items()
    }


def numbers(rows: Sequence[FilmRow], tolerances: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """Summarise one model on one group of films with one prompt.

    Returns:
        films, patients, failed, empty, lost (films without a mask, or with an empty one where the truth is
        not), lost_patients and lost_interval (patients with a lost film, and the 95 % interval of their
        share), labelled (films whose lungs are scored apart), unit ("mm", "px" or "mixed"), worst_id (the
        film of the worst Dice), and for every measure `<measure>_mean`, `_sd`, `_median`, `_worst` and
        `_interval` (95 %, patients drawn). Failed films count with their worst scores; no interval keeps its
        word for such a mean, so where films are lost `_interval` is None, and `_kept_mean` and
        `_kept_interval` are of the others. No interval is given for fewer than 8 patients. Measures that
        depend on the unit are None where it is mixed.

    """
    units = {row.scores["unit"] for row in rows}
    worst = min(rows, key=lambda row: (row.scores["dice"], row.id))
    labelled = sum(
        row.scores["right_dice"] is not None or row.scores["left_dice"] is not None for row in rows
    )
    lost = failure_rate([row.lost for row in rows], [row.patient_id for row in rows])
    summary: dict[str, Any] = {
        "films": len(rows),
        "patients": len({row.patient_id for row in rows}),
        "failed": sum(row.failed for row in rows),
        "empty": sum(row.empty for row in rows),
        "lost": sum(row.lost for row in rows),
        "lost_patients": lost.count,
        "lost_interval": None if lost.interval is None else list(lost.interval),
        "labelled": labelled,
        "unit": units.pop() if len(units) == 1 else MIXED,
        "worst_id": worst.id,
    }
    names = measure_names(tolerances, sides=labelled > 0)
    described = _describe(rows, [n for n in names if summary["unit"] != MIXED or not has_unit(n)], seed)
    for name in names:
        values = described.get(name, _UNDEFINED)
        summary |= {f"{name}_{statistic}": value for statistic, value in values.items()}
    return summary


_UNDEFINED: Mapping[str, Any] = dict.fromkeys(STATISTICS)


def _describe(rows: Sequence[FilmRow], names: Sequence[str], seed: int) -> dict[str, Mapping[str, Any]]:
    """Describe each measure over the films that have it; a lung that is not labelled has none."""
    together: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name in names:
        having = tuple(index for index, row in enumerate(rows) if row.scores[name] is not None)
        if having:
            together[having].append(name)
    described: dict[str, Mapping[str, Any]] = {}
    for having, columns in together.items():
        chosen = [rows[index] for index in having]
        values = np.array([[row.scores[name] for name in columns] for row in chosen], dtype=float)
        kept = np.array([not row.lost for row in chosen])
        patients = [row.patient_id for row in chosen if not row.lost]
        intervals = bootstrap_means(values[kept], patients, seed, LEVEL)  # (K, 2), one draw for all measures
        for name, column, interval in zip(columns, values.T, intervals, strict=True):
            described[name] = _statistics(name, column, kept, interval)
    return described


def _statistics(name: str, values: Any, kept: Any, interval: Any) -> dict[str, Any]:
    ends = _within(name, interval) if np.isfinite(interval).all() else None
    return {
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "median": float(np.median(values)),
        "worst": float(values.min() if higher_is_better(name) else values.max()),
        "interval": ends if kept.all() else None,
        "kept_mean": float(values[kept].mean()) if kept.any() else None,
        "kept_interval": ends,
    }


def _within(name: str, interval: Any) -> list[float]:
    """Return an interval within what the measure can be: distances end at 0, shares at 0 and 1."""
    low, high = (
        (0.0, np.inf) if has_unit(name) and not higher_is_better(name) else (_LEAST.get(name, 0.0), 1.0)
    )
    return [float(side) for side in np.clip(interval, low, high)]


_LEAST = {"ssim": -1.0}
