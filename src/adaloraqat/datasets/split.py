"""Divide the films of a manifest into train, val and test: by patient, and by clusters of copies."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from adaloraqat.datasets.manifest import SPLITS, Entry
from adaloraqat.datasets.names import person
from adaloraqat.errors import ManifestError

FRACTIONS = (0.8, 0.1, 0.1)
Patient = tuple[str, str]


def assign_splits(
    entries: Sequence[Entry],
    fractions: tuple[float, float, float] = FRACTIONS,
    seed: int = 0,
    duplicates: Iterable[tuple[str, str]] = (),
    external: Collection[str] = (),
) -> list[Entry]:
    """Return `entries`, in their order, each with a split; those that have one keep it.

    Patients, not films, are divided. Patients of whom films are copies of one another go together, and so do
    those that several sources know by one collection's name (see `names.person`): in each source these
    groups, without those that have a split, are ordered by the SHA-256 of seed, source and
    patient, and that order is cut at `fractions` (train, val, test). A group counts in the source of its
    first patient in the order of the alphabet. So the result depends neither on the order of the rows nor on
    the machine. A group of which one film has a split follows it with the others. Every split with a fraction
    above 0 gets a group where a source has enough.

    Args:
        entries: the films.
        fractions: shares of train, val and test.
        seed: another seed gives another division.
        duplicates: pairs of ids of films that are copies; ids that are not among `entries` are passed over.
        external: sources that stay whole, as test; their copies in other sources go with them.

    Raises:
        ManifestError: the fractions are not three shares of 1, no film is of an external source, or films
            that must stay together already stand in two splits (the sentence names two such films).
    """
    _check_fractions(fractions)
    groups = _Groups(entries, duplicates)
    known = _known_splits(_with_external(entries, external), groups)
    waiting: dict[str, set[Patient]] = defaultdict(set)
    for entry in entries:
        first = groups.first(_patient(entry))
        if first not in known:
            waiting[first[0]].add(first)
    for patients in waiting.values():
        ordered = sorted(patients, key=lambda patient: (_rank(seed, *patient), patient))
        for split, part in zip(SPLITS, _cut(ordered, fractions), strict=True):
            known.update(dict.fromkeys(part, split))
    return [
        entry if entry.split else replace(entry, split=known[groups.first(_patient(entry))])
        for entry in entries
    ]


class _Groups:
    """Which patients go together: they share a film, or are one person in two sources."""

    def __init__(self, entries: Sequence[Entry], duplicates: Iterable[tuple[str, str]]) -> None:
        self._above: dict[Patient, Patient] = {}
        patients = {entry.id: _patient(entry) for entry in entries}
        persons: dict[tuple[str, str], Patient] = {}
        for patient in patients.values():
            self._join(patient, persons.setdefault(person(*patient), patient))
        for a, b in duplicates:
            if a in patients and b in patients:
                self._join(patients[a], patients[b])

    def first(self, patient: Patient) -> Patient:
        """Return the first patient, in the order of the alphabet, of the group of `patient`."""
        while patient in self._above:
            patient = self._above[patient]
        return patient

    def _join(self, one: Patient, other: Patient) -> None:
        # the smaller name leads, so that neither the order of rows nor of pairs matters
        low, high = sorted((self.first(one), self.first(other)))
        if low != high:
            self._above[high] = low


def _patient(entry: Entry) -> Patient:
    return entry.source, entry.patient_id


def _check_fractions(fractions: tuple[float, float, float]) -> None:
    sound = len(fractions) == len(SPLITS) and all(math.isfinite(f) and f >= 0 for f in fractions)
    if not sound or abs(sum(fractions) - 1) > 1e-6:
        raise ManifestError(
            "The fractions must be three numbers from 0 to 1 that add up to 1: give train, val and test, "
            "such as 0.8,0.1,0.1."
        )


def _with_external(entries: Sequence[Entry], external: Collection[str]) -> list[Entry]:
    """Return the entries, those of external sources in test."""
    sources = {entry.source for entry in entries}
    for source in external:
        if source not in sources:
            raise ManifestError(
                f"No film comes from the external source {source!r}: choose one of "
                f"{', '.join(sorted(sources))}."
            )
    for entry in entries:
        if entry.source in external and entry.split not in (None, "test"):
            raise ManifestError(
                f"The source {entry.source!r} is external, but its film {entry.id!r} is in split "
                f"{entry.split}: clear its split, or do not make the source external."
            )
    return [replace(entry, split="test") if entry.source in external else entry for entry in entries]


def _known_splits(entries: Sequence[Entry], groups: _Groups) -> dict[Patient, str]:
    """Return the split of each group that has one."""
    holders: dict[Patient, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.id):
        if not entry.split:
            continue
        holder = holders.setdefault(groups.first(_patient(entry)), entry)
        if holder.split != entry.split:
            raise ManifestError(_leak(holder, entry))
    return {first: holder.split for first, holder in holders.items() if holder.split}


def _leak(first: Entry, second: Entry) -> str:
    places = f"{first.id!r} ({first.split}) and {second.id!r} ({second.split})"
    if person(*_patient(first)) == person(*_patient(second)):
        return (
            f"One patient is in more than one split, with the films {places}: "
            "give all films of a patient the same split, or clear their splits."
        )
    return (
        f"The films {places} are copies of each other, directly or indirectly, but are in different "
        "splits: give them the same split, leave their splits empty, or remove one."
    )


def _rank(seed: int, source: str, patient: str) -> str:
    # the separator cannot make two different triples alike: repr() quotes the strings
    return hashlib.sha256(repr((seed, source, patient)).encode()).hexdigest()


def _cut(ordered: list[Patient], fractions: tuple[float, float, float]) -> list[list[Patient]]:
    counts = _counts(len(ordered), fractions)
    starts = [sum(counts[:i]) for i in range(len(counts))]
    return [ordered[start : start + count] for start, count in zip(starts, counts, strict=True)]


def _counts(total: int, fractions: tuple[float, float, float]) -> list[int]:
    """Share out `total` patients by largest remainder, then lend one to each wanted but empty split."""
    shares = [fraction * total for fraction in fractions]
    counts = [math.floor(share + 1e-9) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - shares[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    for i in by_remainder:
        largest = max(range(len(counts)), key=lambda j: (counts[j], -j))
        if fractions[i] > 0 and counts[i] == 0 and counts[largest] > 1:
            counts[largest] -= 1
            counts[i] += 1
    return counts
