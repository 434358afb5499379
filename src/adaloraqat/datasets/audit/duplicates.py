"""Copies among films: equal pixels, or one film that was compressed, resized, brightened, cut or turned."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.audit.film_checks import FilmRecord
from adaloraqat.datasets.audit.perceptual_hash import SURE_BITS, TURNS, Candidate, find_candidates
from adaloraqat.datasets.audit.registration import agreement
from adaloraqat.datasets.audit.workers import in_order
from adaloraqat.progress import Progress, no_progress
from adaloraqat.renamed import renamed_arguments

NEAR = 0.88
"""Agreement from which two films count as one. Of 1,122 real films no two others but one pair reach 0.84."""

NEAR_SURE = 0.75  # enough where the hashes are as close as only copies are
SAME_PATIENT = 0.96
"""The same for films of one patient, who may look alike a day later and are kept together anyway."""

LOOK_ALIKE = 0.76
"""Agreement from which two films of different patients are shown as look-alikes, which proves nothing."""

_ALL_PAIRS = 20  # of equal films; a larger group is reported as pairs with its first film
_TOGETHER = 128  # pairs that are laid on one another at once
_WORTH_PROCESSES = 24  # fewer portions are done before a second process has started
Thumbnails = NDArray[np.uint8]


@dataclass(frozen=True)
class Duplicate:
    """Films `a` and `b` (ids, a before b in the order of the alphabet) are one.

    `kind`: "exact" (equal pixels), "near" (the same film stored otherwise), "inverted" (one is the negative),
    "mirrored" (left and right exchanged), "turned" (upside down, perhaps mirrored). `similarity` is the
    agreement of the registered thumbnails, 1 for equal pixels.
    """

    a: str
    b: str
    kind: str
    similarity: float


@renamed_arguments(track="progress")
def find_duplicates(
    records: Sequence[FilmRecord],
    patients: Mapping[str, Any],
    processes: int = 1,
    progress: Progress = no_progress,
) -> tuple[list[Duplicate], list[Duplicate]]:
    """Return the copies, and the look-alikes of different patients that are no proven copies.

    Args:
        records: the films; those without a thumbnail (unreadable) or with a uniform one are left out of the
            search for near copies.
        patients: for each id who the patient is, of any comparable type.
        processes: how many processes may work.
        progress: shows how far each task is.
    """
    exact, representatives = _exact(records)
    # a fixed order, so that rows in another order give the same pairs
    films = sorted(
        (r for r in representatives if r.thumbnail is not None and r.thumbnail.any()), key=lambda r: r.id
    )
    copies: list[Duplicate] = []
    alike: list[Duplicate] = []
    for candidate, similarity in _compared(films, processes, progress):
        first, second = films[candidate.a], films[candidate.b]
        one_patient = patients[first.id] == patients[second.id]
        pair = Duplicate(first.id, second.id, _kind(first, second, candidate), round(similarity, 3))
        if _is_copy(similarity, candidate.bits, one_patient):
            copies.append(pair)
        elif similarity >= LOOK_ALIKE and not one_patient:
            alike.append(pair)
    return exact + copies, alike


def _exact(records: Sequence[FilmRecord]) -> tuple[list[Duplicate], list[FilmRecord]]:
    groups: dict[bytes, list[FilmRecord]] = defaultdict(list)
    for record in records:
        if record.digest is not None:
            groups[record.digest].append(record)
    pairs = []
    for group in groups.values():
        group.sort(key=lambda record: record.id)
        members = (
            combinations(group, 2) if len(group) <= _ALL_PAIRS else ((group[0], other) for other in group[1:])
        )
        for first, second in members:
            kind = "exact" if first.righted == second.righted else "inverted"
            pairs.append(Duplicate(first.id, second.id, kind, 1.0))
    return pairs, [group[0] for group in groups.values()]


def _compared(
    films: Sequence[FilmRecord], processes: int, progress: Progress
) -> Iterator[tuple[Candidate, float]]:
    if len(films) < 2:
        return
    thumbnails = np.stack([film.thumbnail for film in films if film.thumbnail is not None])
    candidates = find_candidates(thumbnails, progress)
    portions = [candidates[start : start + _TOGETHER] for start in range(0, len(candidates), _TOGETHER)]
    few = len(portions) < _WORTH_PROCESSES
    results = in_order(_agreement, _Pairs(thumbnails, portions), 1 if few else processes)
    for portion, values in zip(progress(portions, "blocks of pairs looked at"), results, strict=True):
        yield from zip(portion, map(float, values), strict=True)


class _Pairs(Sequence[Any]):
    """The pictures of each portion of pairs, made when they are asked for: memory stays flat."""

    def __init__(self, thumbnails: Thumbnails, portions: Sequence[Sequence[Candidate]]) -> None:
        self.thumbnails, self.portions = thumbnails, portions

    def __len__(self) -> int:
        return len(self.portions)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        portion = self.portions[place]
        second = np.stack([_turned(self.thumbnails[pair.b], pair.turn) for pair in portion])
        return self.thumbnails[[pair.a for pair in portion]], second


def _agreement(pictures: tuple[Thumbnails, Thumbnails]) -> NDArray[np.float32]:
    return agreement(*pictures)


def _turned(picture: Thumbnails, turn: int) -> Thumbnails:
    left_right, up_down = TURNS[turn % len(TURNS)]
    turned = picture[:: -1 if up_down else 1, :: -1 if left_right else 1]
    return 255 - turned if turn >= len(TURNS) else turned


def _is_copy(similarity: float, bits: int, one_patient: bool) -> bool:
    if one_patient:
        return similarity >= SAME_PATIENT or (bits <= SURE_BITS and similarity >= NEAR)
    return similarity >= NEAR or (bits <= SURE_BITS and similarity >= NEAR_SURE)


def _kind(first: FilmRecord, second: FilmRecord, candidate: Candidate) -> str:
    left_right, up_down = TURNS[candidate.turn % len(TURNS)]
    negative = (candidate.turn >= len(TURNS)) != (first.righted != second.righted)
    if up_down:
        return "turned"
    if left_right:
        return "mirrored"
    return "inverted" if negative else "near"
