"""From a case to its `segs`: every box gives one object of the label map."""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.engine import FloatArray
from adaloraqat.bundle.prompts import Embedded, Prompts
from adaloraqat.bundle.segmenter import Segmenter
from adaloraqat.challenge.archive import IN_MEMORY, no_temporary_space
from adaloraqat.challenge.case import Case, VolumeBox
from adaloraqat.challenge.propagation import (
    PROPAGATIONS,
    Carried,
    Propagation,
    carry_nothing,
    keep_inside,
)
from adaloraqat.progress import Progress, no_progress
from adaloraqat.radiograph import Frame
from adaloraqat.renamed import renamed_arguments

Labels = NDArray[Any]
Step = tuple[int, bool]
"""A slice, and whether the walk goes upwards."""

KEPT_BYTES = 256 << 20
"""What embeddings that are needed a second time may take; beyond it, the oldest are encoded again."""

_NAMED = 10  # empty objects that a warning names


@dataclass(frozen=True)
class ObjectResult:
    """One object of a case.

    Attributes:
        label: its value in `segs`: its box's place in the file, from 1.
        box: the box that was given.
        voxels: how many voxels of `segs` hold the label (pixels of an image).
        quality: IoU predicted for the middle slice, in [0, 1]; None where the model was not trained for it.
        dice: overlap with the same label of the file's gts; None where it holds none.
    """

    label: int
    box: VolumeBox
    voxels: int
    quality: float | None
    dice: float | None


@dataclass(frozen=True)
class CaseResult:
    """A segmented case.

    Attributes:
        segs: (D, H, W) uint8 labels (uint16 with more than 255 objects), 0 outside every object; where two
            overlap, the later box's. It may lie in the case's folder.
        objects: one per box, in the file's order.
        encoded: runs of the encoder; one per slice that some box covers.
        milliseconds: wall time by phase: read, encode, decode, place (masks onto the original grid).
        warnings: "code: sentence" each; none speaks of lungs.
    """

    segs: Labels = field(repr=False)
    objects: tuple[ObjectResult, ...]
    encoded: int
    milliseconds: dict[str, float]
    warnings: list[str]


class _Object:
    """An object on its way through the slices."""

    def __init__(self, label: int, box: VolumeBox) -> None:
        self.label = label
        self.box = box
        self.carried = self._middle = Carried(box.in_slice)
        self.quality: float | None = None

    def reached(self, step: Step) -> bool:
        """Return whether the walk meets the object on this slice."""
        z, upwards = step
        return self.box.middle <= z < self.box.z_max if upwards else self.box.z_min <= z < self.box.middle

    def take(
        self, step: Step, logits: FloatArray, quality: float | None, frame: Frame, propagation: Propagation
    ) -> FloatArray:
        """Take what was decoded on a slice: returns the logits to keep, and readies the next prompt."""
        z, upwards = step
        logits, self.carried = propagation(logits, frame, self.carried, self.box.in_slice)
        if z == self.box.middle:
            self.quality, self._middle = quality, self.carried
        if upwards and z == self.box.z_max - 1:
            self.carried = self._middle  # the way down starts from the middle again
        return logits


@renamed_arguments(track="progress")
def segment_case(
    segmenter: Segmenter,
    case: Case,
    propagate: str = "box",
    progress: Progress = no_progress,
) -> CaseResult:
    """Segment every box of a case.

    The slices are walked upwards and then downwards, and on each all objects that have reached it are decoded
    from its one embedding: an object is followed from its middle slice to its last one, and then from the
    slice below the middle to its first.

    Args:
        segmenter: the model.
        case: an opened case.
        propagate: "box" or "mask", see `propagation`; without boxes each slice is prompted whole.
        progress: shows how far the walk is.

    Raises:
        FilmError: a slice holds values that are not finite.
        BundleError: the graphs do not run on what the bundle's preprocessing gives.
        OutputError: no space for a temporary file of a large volume.
    """
    propagation = _propagation(case, propagate)
    watch = _Stopwatch()
    objects = [_Object(label, box) for label, box in enumerate(case.boxes, start=1)]
    segs = _no_labels(case)
    steps = _steps(case)
    both_ways = {z for z, upwards in steps if upwards} & {z for z, upwards in steps if not upwards}
    embeddings = _Embeddings(segmenter, case, both_ways, watch)
    for step in progress(steps, "steps through the slices"):
        met = [found for found in objects if found.reached(step)]
        embedded = embeddings[step[0]]
        decoded = _decoded(segmenter, embedded, [found.carried for found in met])
        for found in met:
            with watch.phase("decode"):
                logits, quality = next(decoded)
                logits = found.take(step, logits, quality, embedded.frame, propagation)
            with watch.phase("place"):
                place, mask = embedded.frame.mask_to_original(logits)
                region = segs[step[0]][place]
                np.maximum(region, found.label, out=region, where=mask, dtype=segs.dtype)  # the later box's
    with watch.phase("count"):
        results = _results(objects, segs, case.truth)
    return CaseResult(segs, results, embeddings.encoded, watch.milliseconds, _warnings(results))


def _decoded(
    segmenter: Segmenter, embedded: Embedded, asked: Sequence[Carried]
) -> Iterator[tuple[FloatArray, float | None]]:
    """Decode what was carried to a slice: boxes together, a mask with its box where the model learnt that."""
    takes_masks = segmenter.accepts_points and segmenter.bundle.prompt.masks_trained
    if not takes_masks or all(carried.mask is None for carried in asked):
        yield from segmenter.decode(embedded, [carried.box for carried in asked])
        return
    for carried in asked:
        yield segmenter.answer(embedded, Prompts(box=carried.box, mask=carried.logits()))


class _Stopwatch:
    """Wall time by named phases, in milliseconds."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.milliseconds[name] += (time.perf_counter() - started) * 1000


class _Embeddings:
    """The slices of a case, encoded when they are asked for: one embedding a slice, in bounded memory.

    `encoded` counts the encoder's runs. An embedding is kept only while `again` says that its slice is
    needed once more: the way up through the slices comes first, the way down asks for the last kept first.
    """

    def __init__(self, segmenter: Segmenter, case: Case, again: set[int], watch: _Stopwatch) -> None:
        self._segmenter = segmenter
        self._case = case
        self._again = again
        self._watch = watch
        self._kept: dict[int, Embedded] = {}  # the oldest first
        self.encoded = 0

    def __getitem__(self, z: int) -> Embedded:
        """Return slice z encoded.

        Raises:
            FilmError: the slice holds values that are not finite.
        """
        if z in self._kept:
            return self._kept.pop(z)
        with self._watch.phase("read"):
            pixels = self._case.pixels(z)
        with self._watch.phase("encode"):
            embedded = self._segmenter.embed(pixels)
        self.encoded += 1
        if z in self._again:
            self._again.remove(z)
            self._kept[z] = embedded
            while sum(kept.embedding.nbytes for kept in self._kept.values()) > KEPT_BYTES:
                del self._kept[next(iter(self._kept))]
        return embedded


def _propagation(case: Case, propagate: str) -> Propagation:
    if not case.boxes_given:
        return carry_nothing
    return PROPAGATIONS[propagate] if case.is_volume else keep_inside


def _steps(case: Case) -> list[Step]:
    """The slices that some object is met on, upwards and then downwards."""
    up: set[int] = set()
    down: set[int] = set()
    for box in case.boxes:
        up.update(range(box.middle, box.z_max))
        down.update(range(box.z_min, box.middle))
    return [(z, True) for z in sorted(up)] + [(z, False) for z in sorted(down, reverse=True)]


def _no_labels(case: Case) -> Labels:
    """(D, H, W) zeros; where they are many, in a file of the case's folder."""
    kind = np.dtype(np.uint8 if len(case.boxes) <= 255 else np.uint16)
    if math.prod(case.shape) * kind.itemsize <= IN_MEMORY:
        return np.zeros(case.shape, kind)
    target = case.folder / "segs.raw"
    try:
        with open(target, "wb") as raw:
            for _ in range(
                case.shape[0]
            ):  # written out: a file with holes would fail later, and not politely
                raw.write(bytes(math.prod(case.shape[1:]) * kind.itemsize))
    except OSError as error:
        raise no_temporary_space() from error
    return np.memmap(target, dtype=kind, mode="r+", shape=case.shape)


def _results(objects: list[_Object], segs: Labels, truth: NDArray[Any] | None) -> tuple[ObjectResult, ...]:
    count = len(objects) + 1
    voxels, true, common = (np.zeros(count, np.int64) for _ in range(3))
    for z in range(segs.shape[0]):
        found = np.asarray(segs[z]).ravel()
        voxels += np.bincount(found, minlength=count)
        if truth is not None:
            wanted = np.asarray(truth[z]).ravel()
            wanted = np.where((wanted >= 0) & (wanted < count), wanted, 0).astype(np.int64)
            true += np.bincount(wanted, minlength=count)
            common += np.bincount(found[found == wanted], minlength=count)
    return tuple(
        ObjectResult(
            label=found.label,
            box=found.box,
            voxels=int(voxels[found.label]),
            quality=found.quality,
            dice=_dice(*(int(counts[found.label]) for counts in (voxels, true, common))),
        )
        for found in objects
    )


def _dice(voxels: int, true: int, common: int) -> float | None:
    return 2 * common / (voxels + true) if true else None


def _warnings(results: tuple[ObjectResult, ...]) -> list[str]:
    empty = [str(result.label) for result in results if not result.voxels]
    if not empty:
        return []
    names = ", ".join(empty[:_NAMED]) + (" and others" if len(empty) > _NAMED else "")
    return [
        f"empty-object: {len(empty)} of {len(results)} objects have no voxel ({names}): nothing was found in "
        "their boxes, or later boxes cover it."
    ]
