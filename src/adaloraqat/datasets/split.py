"""Divide the films of a manifest into train, val and test, by patient."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from adaloraqat.datasets.entry import SPLITS, Entry
from adaloraqat.errors import ManifestError

FRACTIONS = (0.7, 0.15, 0.15)
Group = tuple[str, str]


def assign_splits(
    entries: Sequence[Entry], fractions: tuple[float, float, float] = FRACTIONS, seed: int = 0
) -> list[Entry]:
    """Return `entries`, in their order, each with a split; those that have one keep it.

    Patients, not films, are divided: in each source the patients without a split are ordered by the SHA-256
    of seed, source and patient, and that order is cut at `fractions` (train, val, test). So the result
    depends neither on the order of the rows nor on the machine. A patient of whom one film has a split
    follows it with the others. Every split with a fraction above 0 gets a patient where a source has enough.

    Raises:
        ManifestError: the fractions are not three shares of 1, or a patient already stands in two splits.

    """
    _check_fractions(fractions)
    known = _known_splits(entries)
    groups: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if (entry.source, entry.patient_id) not in known:
            groups[entry.source].add(entry.patient_id)
    for source, patients in groups.items():
        ordered = sorted(patients, key=lambda patient: (_rank(seed, source, patient), patient))
        for split, part in zip(SPLITS, _cut(ordered, fractions), strict=True):
            known.update({(source, patient): split for patient in part})
    return [
        entry if entry.split else replace(entry, split=known[entry.source, entry.patient_id])
        for entry in entries
    ]


def _check_fractions(fractions: tuple[float, float, float]) -> None:
    sound = len(fractions) == len(SPLITS) and all(math.isfinite(f) and f >= 0 for f in fractions)
    if not sound or abs(sum(fractions) - 1) > 1e-6:
        raise ManifestError(
            "The fractions must be three numbers from 0 to 1 that sum to 1: give train, val and test, "
            "for example 0.7,0.15,0.15."
        )


def _known_splits(entries: Sequence[Entry]) -> dict[Group, str]:
    known: dict[Group, str] = {}
    for entry in entries:
        if entry.split and known.setdefault((entry.source, entry.patient_id), entry.split) != entry.split:
            raise ManifestError(
                f"The patient of film {entry.id!r} stands in more than one split: "
                "give all films of a patient the same split, or leave their splits empty."
            )
    return known


def _rank(seed: int, source: str, patient: str) -> str:
    # the separator cannot make two different triples alike: repr() quotes the strings
    return hashlib.sha256(repr((seed, source, patient)).encode()).hexdigest()


def _cut(ordered: list[str], fractions: tuple[float, float, float]) -> list[list[str]]:
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
