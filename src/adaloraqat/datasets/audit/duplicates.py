"""Copies among films: equal pixels, or one film that was compressed, resized, brightened, cut or turned.

Two copies of one film may differ by a crop, a squeeze or a small turn. So where hashes are near, one
thumbnail is moved onto the other by an affine map (inverse compositional Lucas-Kanade, all pairs of a batch
at once) before the two are compared.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.audit.film_checks import FilmRecord
from adaloraqat.datasets.audit.perceptual_hash import (
    SURE_BITS,
    TURNS,
    Candidate,
    find_candidates,
    local_contrast,
)
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
Pictures = NDArray[np.float32]

_STEPS, _FINE_STEPS = 8, 3
_WORTH_REFINING = 0.6
_BROAD, _NARROW = 17, 7  # windows, of 64 pixels: a broad one leads the search, a narrow one tells films apart
_TILES = 4
_MOST_MOVED = 0.3  # of a side: a map that moves more has lost its way
_LEAST_COVERED = 0.5


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


# ---- laying one thumbnail on another ------------------------------------------------------------------


def agreement(fixed: NDArray[np.uint8], moving: NDArray[np.uint8]) -> Pictures:
    """Return (N,) correlations, -1 to 1, of thumbnail pairs (N, 64, 64) once `moving` lies on `fixed`.

    Each is the median over 4 x 4 tiles of the correlation of local contrast, so that a burnt-in letter or a
    marker does not hide a copy. 0 where the pair could not be laid on one another.
    """
    first, second = fixed.astype(np.float32), moving.astype(np.float32)
    broad = [local_contrast(values, _BROAD) for values in (first, second)]
    maps = register(_halved(broad[0]), _halved(broad[1]), _STEPS)
    result = _correlation(first, second, maps)
    close = result >= _WORTH_REFINING
    if close.any():
        finer = register(broad[0][close], broad[1][close], _FINE_STEPS, maps[close])
        result[close] = np.maximum(result[close], _correlation(first[close], second[close], finer))
    return result


def register(fixed: Pictures, moving: Pictures, steps: int, start: Pictures | None = None) -> Pictures:
    """Return (N, 2, 3) affine maps from places of `fixed` to places of `moving`, in [-1, 1] coordinates."""
    count, side, _ = fixed.shape
    grid = _grid(side)  # (side², 3): x, y, 1
    vertical, horizontal = np.gradient(fixed, 2 / side, axis=(1, 2))
    gradients = np.stack([horizontal.reshape(count, -1), vertical.reshape(count, -1)], axis=2)
    # (N, side², 6): how the picture changes with each number of the map
    steepest = (gradients[:, :, :, None] * grid[None, :, None, :]).reshape(count, -1, 6)
    normal = steepest.transpose(0, 2, 1) @ steepest
    scale = np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-6
    inverse = np.linalg.inv(normal + 1e-3 * scale * np.eye(6, dtype=np.float32) / 6)
    maps = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1)) if start is None else start
    target = fixed.reshape(count, -1)
    for _ in range(steps):
        values, inside = _sample(moving, maps)
        error = (values.reshape(count, -1) - target) * inside.reshape(count, -1)
        change = inverse @ (steepest.transpose(0, 2, 1) @ error[:, :, None])
        maps = _compose(maps, change.reshape(count, 2, 3).astype(np.float32))
    return maps


def tile_correlation(fixed: Pictures, moved: Pictures, inside: NDArray[np.bool_]) -> Pictures:
    """Return (N,) medians over tiles of the correlation of two (N, h, w) pictures, where `inside` holds."""
    tiles = [_tiled(values) for values in (fixed, moved, inside.astype(np.float32))]
    first, second, weight = tiles
    total = weight.sum(axis=2)
    enough = total >= _LEAST_COVERED * weight.shape[2]
    share = weight / np.maximum(total, 1)[..., None]
    first = first - (first * share).sum(axis=2, keepdims=True)
    second = second - (second * share).sum(axis=2, keepdims=True)
    product = (first * second * share).sum(axis=2)
    strength = np.sqrt((first**2 * share).sum(axis=2) * (second**2 * share).sum(axis=2))
    correlation = np.where(enough & (strength > 1e-6), product / np.maximum(strength, 1e-6), np.nan)
    known = np.isfinite(correlation).sum(axis=1) >= _TILES**2 // 2
    result = np.zeros(len(correlation), np.float32)
    result[known] = np.nanmedian(correlation[known], axis=1)
    return result


def _correlation(fixed: Pictures, moving: Pictures, maps: Pictures) -> Pictures:
    moved, inside = _sample(moving, maps)
    return tile_correlation(local_contrast(fixed, _NARROW), local_contrast(moved, _NARROW), inside)


def _halved(pictures: Pictures) -> Pictures:
    count, side, _ = pictures.shape
    return pictures.reshape(count, side // 2, 2, side // 2, 2).mean(axis=(2, 4))


def _grid(side: int) -> Pictures:
    line = (np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1
    y, x = np.meshgrid(line, line, indexing="ij")
    return np.stack([x.ravel(), y.ravel(), np.ones(side * side, np.float32)], axis=1)


def _sample(pictures: Pictures, maps: Pictures) -> tuple[Pictures, NDArray[np.bool_]]:
    """Return (N, h, w) values of the pictures at the mapped places (bilinear), and where these lie inside."""
    count, side, _ = pictures.shape
    places = _grid(side) @ maps.transpose(0, 2, 1)  # (N, side², 2)
    pixels = (places + 1) * (side / 2) - 0.5
    inside = ((pixels >= 0) & (pixels <= side - 1)).all(axis=2)
    pixels = np.clip(np.nan_to_num(pixels), 0, side - 1.001)
    corner = pixels.astype(np.int32)
    x, y = (pixels - corner).transpose(2, 0, 1)
    flat = pictures.reshape(-1)
    index = corner[..., 1] * side + corner[..., 0] + (np.arange(count) * side * side)[:, None]
    top = flat[index] * (1 - x) + flat[index + 1] * x
    bottom = flat[index + side] * (1 - x) + flat[index + side + 1] * x
    values = (top * (1 - y) + bottom * y).astype(np.float32)
    return values.reshape(pictures.shape), inside.reshape(pictures.shape)


def _compose(maps: Pictures, change: Pictures) -> Pictures:
    """Return maps after the inverse of the small `change`; a map that went astray becomes the identity."""
    step = np.tile(np.eye(3, dtype=np.float32), (len(maps), 1, 1))
    step[:, :2] += np.clip(change, -0.2, 0.2)
    composed: Pictures = (maps @ np.linalg.inv(step)).astype(np.float32)
    astray = ~np.isfinite(composed).all(axis=(1, 2)) | (
        np.abs(composed - np.eye(2, 3)).max(axis=(1, 2)) > 2 * _MOST_MOVED
    )
    composed[astray] = np.eye(2, 3)
    return composed


def _tiled(pictures: Pictures) -> Pictures:
    count, side, _ = pictures.shape
    part = side // _TILES
    return (
        pictures.reshape(count, _TILES, part, _TILES, part)
        .transpose(0, 1, 3, 2, 4)
        .reshape(count, _TILES**2, -1)
    )
