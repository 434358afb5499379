"""One name for each film of an audit, though ids are unique only within their manifest."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from adaloraqat.datasets.audit.examine import Task
from adaloraqat.datasets.entry import Entry


def named(manifests: Sequence[tuple[Path, Sequence[Entry]]]) -> list[Task]:
    """Return the films of all manifests: each by its id, or `manifest:id` where manifests share the id."""
    labels = manifest_labels([path for path, _ in manifests])
    shared = Counter(entry.id for _, entries in manifests for entry in entries)
    return [
        Task(entry.id if shared[entry.id] == 1 else f"{label}:{entry.id}", entry)
        for label, (_, entries) in zip(labels, manifests, strict=True)
        for entry in entries
    ]


def manifest_labels(paths: Sequence[Path]) -> list[str]:
    """Return short names that tell the manifests apart: stem, folder and stem, or these with a number."""
    for label in (lambda path: path.stem, lambda path: f"{path.resolve().parent.name}/{path.stem}"):
        labels = [label(path) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{label}#{number}" for number, label in enumerate(labels, start=1)]
