"""The audit: every film of some manifests looked at once, then compared with all others.

Here stand the names of films (ids are unique only within their manifest), what ties films of different splits
together, what each source's masks look like in numbers, and what is written, and read again for a split.
"""

import csv
import io
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

from adaloraqat.datasets.audit.duplicates import Duplicate, find_duplicates
from adaloraqat.datasets.audit.film_checks import FilmRecord, Problem, Task, crashed, examine, glance
from adaloraqat.datasets.audit.mask_checks import MaskFacts
from adaloraqat.datasets.audit.workers import in_order
from adaloraqat.datasets.manifest import SPLITS, Entry
from adaloraqat.datasets.names import person
from adaloraqat.errors import ManifestError
from adaloraqat.files import write_json, write_text
from adaloraqat.progress import Progress, no_progress
from adaloraqat.renamed import renamed_arguments

WORTH_PROCESSES = 64
"""Fewer films are looked at before a second process has started."""


@dataclass(frozen=True)
class Audit:
    """What an audit found. `document` is audit.json; `tasks` are the films under the names it uses."""

    tasks: tuple[Task, ...]
    duplicates: tuple[Duplicate, ...]
    look_alikes: tuple[Duplicate, ...]
    split_leaks: tuple[dict[str, Any], ...]
    problems: tuple[Problem, ...]
    document: dict[str, Any]

    @property
    def findings(self) -> int:
        """Duplicates, split leaks and problems together; look-alikes prove nothing and do not count."""
        return len(self.duplicates) + len(self.split_leaks) + len(self.problems)


@renamed_arguments(track="progress")
def audit(
    manifests: Sequence[tuple[Path, Sequence[Entry]]],
    processes: int = 1,
    progress: Progress = no_progress,
) -> Audit:
    """Look at every film of `manifests` (each with the path it came from) and compare it with all others.

    Films are read one at a time and only a few kilobytes of each are kept. A file that cannot be read is a
    problem in the result, never an end. `progress` shows how far each task is.

    Raises:
        ManifestError: there is no film.
    """
    tasks = named(manifests)
    if not tasks:
        raise ManifestError("There is no film to audit: give a manifest that has rows.")
    started = time.perf_counter()
    records = _records(examine, tasks, processes, progress)
    looked = time.perf_counter()
    duplicates, alike = find_duplicates(records, _patients(tasks), processes, progress)
    done = time.perf_counter()
    problems = [problem for record in records for problem in record.problems]
    leaks = patient_leaks(tasks) + duplicate_leaks(tasks, duplicates)
    entries = dict(tasks)
    document = {
        "duplicates": [_pair(pair, entries) for pair in duplicates],
        "split_leaks": leaks,
        "problems": [asdict(problem) for problem in problems],
        "look_alikes": [_pair(pair, entries) for pair in alike],
        "counts": {
            "films": len(tasks),
            "unreadable": sum(record.digest is None for record in records),
            "duplicates": dict(Counter(pair.kind for pair in duplicates)),
            "split_leaks": dict(Counter(leak["kind"] for leak in leaks)),
            "problems": dict(Counter(problem.kind for problem in problems)),
            "look_alikes": len(alike),
        },
        "sources": source_facts(tasks, records),
        "manifests": [
            {"name": label, "films": len(entries_)}
            for label, (_, entries_) in zip(
                manifest_labels([path for path, _ in manifests]), manifests, strict=True
            )
        ],
        "timing": {
            "films_seconds": round(looked - started, 3),
            "duplicates_seconds": round(done - looked, 3),
            "images_per_second": round(len(tasks) / (done - started), 2),
            "processes": _several(tasks, processes),
        },
    }
    return Audit(tuple(tasks), tuple(duplicates), tuple(alike), tuple(leaks), tuple(problems), document)


@renamed_arguments(track="progress")
def duplicate_pairs(
    path: Path, entries: Sequence[Entry], processes: int = 1, progress: Progress = no_progress
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the ids of the copies among one manifest's films, and a sentence for each unreadable film."""
    tasks = named([(path, entries)])
    records = _records(glance, tasks, processes, progress)
    duplicates, _ = find_duplicates(records, _patients(tasks), processes, progress)
    unreadable = [problem.message for record in records for problem in record.problems]
    return [(pair.a, pair.b) for pair in duplicates], unreadable


def _records(
    look: Callable[[Task], FilmRecord], tasks: Sequence[Task], processes: int, progress: Progress
) -> list[FilmRecord]:
    results = in_order(look, tasks, _several(tasks, processes), crashed)
    return [record for _, record in zip(progress(tasks, "films"), results, strict=True)]


def _several(tasks: Sequence[Task], processes: int) -> int:
    return processes if len(tasks) >= WORTH_PROCESSES else 1


def _patients(tasks: Iterable[Task]) -> dict[str, tuple[str, str]]:
    return {name: person(entry.source, entry.patient_id) for name, entry in tasks}


def write_audit(result: Audit, out: Path) -> list[Path]:
    """Write audit.json and audit.csv (one row a finding) to the folder `out`; return their paths.

    Raises:
        OutputError: the folder cannot be written.
    """
    write_json(out / "audit.json", result.document)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("finding", "kind", "id", "other_id", "similarity", "message"))
    for pair in result.duplicates:
        writer.writerow(("duplicate", pair.kind, pair.a, pair.b, pair.similarity, ""))
    for leak in result.split_leaks:
        message = f"patient {leak['patient_id']} of {leak['source']}: {', '.join(leak['splits'])}"
        writer.writerow(("split leak", leak["kind"], leak["films"][0], leak["films"][1], "", message))
    for problem in result.problems:
        writer.writerow(("problem", problem.kind, problem.id, "", "", problem.message))
    for pair in result.look_alikes:
        writer.writerow(("look-alike", pair.kind, pair.a, pair.b, pair.similarity, ""))
    write_text(out / "audit.csv", text.getvalue())
    return [out / "audit.json", out / "audit.csv"]


def _pair(pair: Duplicate, entries: dict[str, Entry]) -> dict[str, Any]:
    first, second = entries[pair.a], entries[pair.b]
    return asdict(pair) | {
        "source_a": first.source,
        "source_b": second.source,
        "split_a": first.split,
        "split_b": second.split,
        "same_patient": person(first.source, first.patient_id) == person(second.source, second.patient_id),
    }


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


def stored_pairs(path: Path, manifest: Path, entries: Sequence[Entry]) -> tuple[list[tuple[str, str]], str]:
    """Return the pairs of ids, of `manifest`, that an audit.json calls copies; and a notice, or "".

    Where the audit was of several manifests that share an id, its name is `manifest:id`; such a name is
    understood by the manifest's stem or folder and stem.

    Raises:
        ManifestError: the file is missing or no audit.json.
    """
    document = _document(path)
    ids = {entry.id for entry in entries}
    prefixes = [f"{manifest.stem}:", f"{manifest.resolve().parent.name}/{manifest.stem}:"]
    pairs = []
    for pair in document["duplicates"]:
        a, b = (_own(name, ids, prefixes) for name in (pair["a"], pair["b"]))
        if a is not None and b is not None:
            pairs.append((a, b))
    films = [found.get("films") for found in document.get("manifests", []) if isinstance(found, dict)]
    if films and len(entries) not in (*films, sum(filter(None, films))):
        return pairs, (
            f"{path.name} was made for a different number of films: copies among newer films are unknown."
        )
    return pairs, ""


def _own(name: str, ids: set[str], prefixes: Sequence[str]) -> str | None:
    if name in ids:
        return name
    for prefix in prefixes:
        if name.startswith(prefix) and name[len(prefix) :] in ids:
            return name[len(prefix) :]
    return None


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        sound = all(isinstance(pair[key], str) for pair in document["duplicates"] for key in ("a", "b"))
    except OSError as error:
        raise ManifestError(f"{path.name} cannot be read: give the audit.json of `data audit`.") from error
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise ManifestError(
            f"{path.name} is not an audit.json: give the one that `adaloraqat data audit` wrote."
        )
    return document
