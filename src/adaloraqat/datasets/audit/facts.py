"""What the masks of each source look like, in numbers: conventions differ, and it shows here."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import mean, median, quantiles
from typing import Any

from adaloraqat.datasets.audit.examine import Task
from adaloraqat.datasets.audit.record import FilmRecord, MaskFacts


def source_facts(tasks: Iterable[Task], records: Iterable[FilmRecord]) -> dict[str, Any]:
    """Return, by source: films, readable films, patients, splits, and the measured mask convention."""
    groups: dict[str, list[tuple[Task, FilmRecord]]] = defaultdict(list)
    for task, record in zip(tasks, records, strict=True):
        groups[task.entry.source].append((task, record))
    return {source: _facts(films) for source, films in sorted(groups.items())}


def _facts(films: Sequence[tuple[Task, FilmRecord]]) -> dict[str, Any]:
    splits = [task.entry.split or "none" for task, _ in films]
    masks = [record.mask for _, record in films if record.mask is not None]
    return {
        "films": len(films),
        "readable": sum(record.digest is not None for _, record in films),
        "patients": len({task.entry.patient_id for task, _ in films}),
        "splits": {
            split: splits.count(split) for split in ("train", "val", "test", "none") if split in splits
        },
        "masks": _mask_facts(masks) if masks else None,
    }


def _mask_facts(masks: Sequence[MaskFacts]) -> dict[str, Any]:
    areas = [facts.area for facts in masks]
    ratios = [facts.right_over_left for facts in masks if facts.right_over_left is not None]
    gaps = [facts.gap for facts in masks if facts.gap is not None]
    return {
        "measured": len(masks),
        "two_parts": len(ratios),
        "area": _summary(areas),
        "right_over_left": _summary(ratios),
        "gap": _summary(gaps),
    }


def _summary(values: Sequence[float]) -> dict[str, float] | None:
    """Return mean, median and the 5th and 95th percentile; None of nothing."""
    if not values:
        return None
    twentieths = quantiles(values, n=20, method="inclusive") if len(values) > 1 else [values[0]] * 19
    named = {"mean": mean(values), "median": median(values), "p5": twentieths[0], "p95": twentieths[-1]}
    return {name: round(value, 4) for name, value in named.items()}
