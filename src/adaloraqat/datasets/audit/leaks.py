"""What ties films of different splits together: one patient in several, or copies of one film."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from adaloraqat.datasets.audit.duplicates import Duplicate
from adaloraqat.datasets.audit.examine import Task
from adaloraqat.datasets.entry import SPLITS

Patient = tuple[str, str]


def patient_leaks(tasks: Iterable[Task]) -> list[dict[str, Any]]:
    """Return the patients (of one source) whose films lie in several splits."""
    splits: dict[Patient, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, entry in tasks:
        if entry.split:
            splits[entry.source, entry.patient_id][entry.split].append(name)
    return [
        {
            "patient_id": patient,
            "splits": [split for split in SPLITS if split in found],
            "kind": "patient",
            "source": source,
            "films": sorted(name for names in found.values() for name in names),
        }
        for (source, patient), found in sorted(splits.items())
        if len(found) > 1
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
