"""The audit: every film of some manifests looked at once, then compared with all others."""

import csv
import io
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adaloraqat.datasets.audit.duplicates import Duplicate, Track, find_duplicates, no_track
from adaloraqat.datasets.audit.examine import Task, crashed, examine, glance
from adaloraqat.datasets.audit.facts import source_facts
from adaloraqat.datasets.audit.leaks import duplicate_leaks, patient_leaks
from adaloraqat.datasets.audit.naming import manifest_labels, named
from adaloraqat.datasets.audit.record import Problem
from adaloraqat.datasets.audit.workers import in_order
from adaloraqat.datasets.entry import Entry
from adaloraqat.datasets.patients import person
from adaloraqat.errors import ManifestError
from adaloraqat.files import write_json, write_text

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


def audit(
    manifests: Sequence[tuple[Path, Sequence[Entry]]],
    processes: int = 1,
    track: Track = no_track,
) -> Audit:
    """Look at every film of `manifests` (each with the path it came from) and compare it with all others.

    Films are read one at a time and only a few kilobytes of each are kept. A file that cannot be read is a
    problem in the result, never an end. `track` wraps what is counted, with its plural noun.

    Raises:
        ManifestError: there is no film.
    """
    tasks = named(manifests)
    if not tasks:
        raise ManifestError("There is no film to look at: name a manifest that has rows.")
    started = time.perf_counter()
    several = processes if len(tasks) >= WORTH_PROCESSES else 1
    results = in_order(examine, tasks, several, crashed)
    records = [record for _, record in zip(track(tasks, "films"), results, strict=True)]
    looked = time.perf_counter()
    patients = {name: person(entry.source, entry.patient_id) for name, entry in tasks}
    duplicates, alike = find_duplicates(records, patients, processes, track)
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
            "processes": several,
        },
    }
    return Audit(tuple(tasks), tuple(duplicates), tuple(alike), tuple(leaks), tuple(problems), document)


def duplicate_pairs(
    path: Path, entries: Sequence[Entry], processes: int = 1, track: Track = no_track
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the ids of the copies among one manifest's films, and a sentence for each unreadable film."""
    tasks = named([(path, entries)])
    several = processes if len(tasks) >= WORTH_PROCESSES else 1
    results = in_order(glance, tasks, several, crashed)
    records = [record for _, record in zip(track(tasks, "films"), results, strict=True)]
    patients = {name: person(entry.source, entry.patient_id) for name, entry in tasks}
    duplicates, _ = find_duplicates(records, patients, processes, track)
    unreadable = [problem.message for record in records for problem in record.problems]
    return [(pair.a, pair.b) for pair in duplicates], unreadable


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
