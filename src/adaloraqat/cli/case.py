"""Challenge cases in `adaloraqat segment`: many objects of an image or a volume, written as `segs`.

Here and in `plan`, which tells a case from a film, `segment` meets the challenge: its room is imported by the
first file that may be a case.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaloraqat.batch.film_entry import FilmEntry
from adaloraqat.bundle import Segmenter
from adaloraqat.cli.console import progress
from adaloraqat.errors import OutputError
from adaloraqat.progress import no_progress
from adaloraqat.radiograph import Box

if TYPE_CHECKING:
    from adaloraqat.challenge import Case, CaseResult, ObjectResult


class Propagate(StrEnum):
    """The names of `PROPAGATIONS`."""

    box = "box"
    mask = "mask"


def do_case(
    segmenter: Segmenter,
    source: Path,
    outputs: Sequence[Path],
    box: Box | None,
    propagate: str,
    show_progress: bool,
) -> tuple[FilmEntry, OutputError | None]:
    """Segment one case, write its `segs` (and the overlay, where `outputs` has a second path).

    Returns:
        the case's entry, without the names of files, and what kept the overlay from being written.

    Raises:
        FilmError: the case cannot be used; nothing was written.
        OutputError: its `segs` cannot be written.
    """
    from adaloraqat.challenge import open_case, segment_case, write_case_overlay, write_npz

    started = time.perf_counter()
    with open_case(source, box) as case:
        opened = time.perf_counter()

        result = segment_case(segmenter, case, propagate, progress if show_progress else no_progress)
        done = time.perf_counter()
        write_npz(outputs[0], {"segs": result.segs if case.is_volume else result.segs[0]})
        unwritten = None
        for overlay in outputs[1:]:
            unwritten = failure(partial(write_case_overlay, overlay, case, result.segs))
        ended = time.perf_counter()
        entry = _entry(case, result, "given" if box else "file" if case.boxes_given else "whole slices")
    parts = {"open": (opened - started) * 1000, **result.milliseconds, "write": (ended - done) * 1000}
    spent = {part: round(milliseconds, 2) for part, milliseconds in parts.items()}
    whole = round((ended - started) * 1000, 2)
    return replace(entry, milliseconds=whole, milliseconds_of=spent), unwritten


def failure(write: Callable[[], None]) -> OutputError | None:
    """Write a file that a result can do without; return what kept it from being written."""
    try:
        write()
    except OutputError as error:
        return error
    return None


def _entry(case: Case, result: CaseResult, source: str) -> FilmEntry:
    depth, height, width = case.shape
    image = None if case.is_volume else sum(found.voxels for found in result.objects)
    size = _voxel_size(case)
    return FilmEntry(
        width=width,
        height=height,
        slices=depth if case.is_volume else None,
        box_source=source,
        area_px=image,
        area_mm2=None if image is None or size is None else round(image * size, 2),
        spacing_mm=case.spacing_mm,
        objects=[_object(found, case.is_volume, size) for found in result.objects],
        encoded=result.encoded,
        warnings=tuple(result.warnings),
    )


def _object(found: ObjectResult, is_volume: bool, size: float | None) -> dict[str, Any]:
    x_min, y_min, x_max, y_max = (round(side, 2) for side in found.box.in_slice)
    z_min, z_max = found.box.z_min, found.box.z_max
    amount = None if size is None else round(found.voxels * size, 2)
    return {
        "label": found.label,
        "box": [x_min, y_min, z_min, x_max, y_max, z_max] if is_volume else [x_min, y_min, x_max, y_max],
        "voxels": found.voxels,
        "volume_mm3" if is_volume else "area_mm2": amount,
        "quality": None if found.quality is None else round(found.quality, 4),
        "dice": None if found.dice is None else round(found.dice, 4),
    }


def _voxel_size(case: Case) -> float | None:
    """mm^3 of a voxel, or mm^2 of an image's pixel; None where the file does not tell."""
    if case.spacing_mm is None or len(case.spacing_mm) != (3 if case.is_volume else 2):
        return None
    return math.prod(case.spacing_mm)
