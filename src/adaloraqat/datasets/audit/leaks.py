"""What ties films of different splits together: one patient in several, or copies of one film."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from adaloraqat.datasets.audit.duplicates import Duplicate
from adaloraqat.datasets.audit.examine import Task
from adaloraqat.datasets.entry import SPLITS
from adaloraqat.datasets.patients import person


def patient_leaks(tasks: Iterable[Task]) -> list[dict[str, Any]]:
    """Return the patients whose films lie in several splits; see `person` for who is one patient."""
    films: dict[tuple[str, str], list[Task]] = defaultdict(list)
    for task in tasks:
        if task.entry.split:
            films[person(task.entry.source, task.entry.patient_id)].append(task)
    return [
        {
            "patient_id": patient,
            "splits": splits,
            "kind": "patient",
            "source": " and ".join(sorted({task.entry.source for task in found})),
            "films": sorted(task.name for task in found),
        }
        for (_, patient), found in sorted(films.items())
        if len(splits := [split for split in SPLITS if any(task.entry.split == split for task in found)]) > 1
    ]


def duplicate_leaks(tasks: Sequence[Task], duplicates: Iterable[Duplicate]) -> list[dict[str, Any]]:
    """Return the copies whose two films lie in different splits, though their patients may differ."""
    entries = dict(tasks)
    leaks = []
    for pair in duplicates:
        first, second = entries[pair.a], entries[pair.b]
        if first.split and second.split and first.split != second.split:
            leaks.append(
                {
                    "patient_id": first.patient_id,
                    "splits": [split for split in SPLITS if split in (first.split, second.split)],
                    "kind": "duplicate",
                    "source": first.source,
                    "films": [pair.a, pair.b],
                    "patient_ids": sorted({first.patient_id, second.patient_id}),
                }
            )
    return leaks
