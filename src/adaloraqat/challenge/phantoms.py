"""Write phantoms of several modalities: challenge cases (.npz), and their slices as a manifest's films."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.challenge.archive import write_npz
from adaloraqat.challenge.phantom_looks import PhantomCase, draw_ultrasound, draw_volume
from adaloraqat.datasets.manifest import Entry, write_manifest
from adaloraqat.datasets.phantom.draw import draw_phantom
from adaloraqat.datasets.phantom.write import FRACTIONS
from adaloraqat.datasets.split import assign_splits
from adaloraqat.errors import ManifestError
from adaloraqat.progress import Progress, no_progress
from adaloraqat.radiograph import Box, write_png
from adaloraqat.renamed import renamed_arguments

DATA_SET = "phantom"
_SLICES = 24


def draw_film(seed: int, size: int = 128) -> PhantomCase:
    """Draw a chest film as a case: labels 1 right lung, 2 left lung, 3 heart."""
    film = draw_phantom(seed, size)
    row, column = film.spacing_mm
    return PhantomCase(np.round(film.pixels * np.float32(255)).astype(np.uint8), film.labels, (column, row))


def _draw_stack(seed: int, size: int) -> PhantomCase:
    return draw_volume(seed, size, _SLICES)


MODALITIES: dict[str, tuple[Callable[[int, int], PhantomCase], tuple[int, ...], str | None]] = {
    "XRay": (draw_film, (1, 2), "lung-field"),
    "CT": (_draw_stack, (1, 2), "lungs"),
    "US": (draw_ultrasound, (1, 2, 3), "cysts"),
}
"""By the challenge's word: how a case is drawn, the labels in a manifest's masks, what those outline."""


def boxes_of(labels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Tight boxes of the labels 1 to N, as the challenge writes them, the end exclusive.

    Returns:
        (N, 4) of (H, W) labels; (N, 6) x_min, y_min, z_min, x_max, y_max, z_max of (D, H, W) labels.
    """
    boxes = []
    for label in range(1, int(labels.max()) + 1):
        own = labels == label
        if labels.ndim == 2:
            boxes.append([round(side) for side in Box.around(own)])
            continue
        slices = np.flatnonzero(own.any(axis=(1, 2)))
        x_min, y_min, x_max, y_max = (round(side) for side in Box.around(own.any(axis=0)))
        boxes.append([x_min, y_min, int(slices[0]), x_max, y_max, int(slices[-1]) + 1])
    return np.array(boxes, dtype=np.uint16)


@renamed_arguments(track="progress")
def write_case_phantoms(
    out: str | os.PathLike[str],
    counts: Mapping[str, int],
    seed: int = 0,
    size: int = 128,
    progress: Progress = no_progress,
) -> list[Entry]:
    """Write cases of several modalities below the folder `out`, and return the entries of their manifest.

    A folder a modality, then the data set, as the challenge orders them: `CT/phantom/npz/3DBox_CT_*.npz` with
    `imgs`, `gts`, `boxes` and `spacing`; beside it `images/` and `masks/` with its slices that hold anything
    of the mask, for training. `manifest.csv`, with splits 70:15:15 by case, comes last. The same arguments
    write the same bytes.

    Args:
        out: the folder.
        counts: cases to draw of each modality, by a name of `MODALITIES`.
        seed: another seed gives other cases.
        size: width and height in pixels.
        progress: shows how many cases are done.

    Raises:
        ManifestError: a modality is not known, or nothing is asked for.
        FilmError: the size or the seed is not possible.
        OutputError: the folder cannot be written, or the disk is full.
    """
    unknown = [name for name in counts if name not in MODALITIES]
    if unknown:
        raise ManifestError(f"There is no phantom of {unknown[0]!r}: choose one of {', '.join(MODALITIES)}.")
    wanted = [(name, number) for name, count in counts.items() for number in range(count)]
    if not wanted:
        raise ManifestError("No phantoms requested: give a count of 1 or more.")
    entries: list[Entry] = []
    for name, number in progress(wanted, "cases"):
        draw = MODALITIES[name][0]
        case = draw(_derive(seed, name, number), size)
        entries += _write(Path(out) / name / DATA_SET, name, f"{seed}-{number:05d}", case)
    entries = assign_splits(entries, FRACTIONS, seed)
    write_manifest(Path(out) / "manifest.csv", entries)
    return entries


def _derive(seed: int, name: str, number: int) -> int:
    if seed < 0:
        return seed  # refused by what draws
    words = [seed, list(MODALITIES).index(name), number]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])


def _write(folder: Path, name: str, number: str, case: PhantomCase) -> list[Entry]:
    kind = "2DBox" if case.pixels.ndim == 2 else "3DBox"
    arrays: dict[str, NDArray[Any]] = {
        "imgs": case.pixels,
        "gts": case.labels,
        "boxes": boxes_of(case.labels),
        "spacing": np.array(case.spacing_mm),
    }
    write_npz(folder / "npz" / f"{kind}_{name}_{DATA_SET}_{number}.npz", arrays)
    if case.pixels.ndim == 2:
        return [_write_slice(folder, name, number, number, case)]
    kept = np.flatnonzero(np.isin(case.labels, MODALITIES[name][1]).any(axis=(1, 2)))
    return [_write_slice(folder, name, f"{number}-z{z:04d}", number, _slice(case, int(z))) for z in kept]


def _slice(case: PhantomCase, z: int) -> PhantomCase:
    return replace(case, pixels=case.pixels[z], labels=case.labels[z])


def _write_slice(
    folder: Path,
    name: str,
    own: str,
    patient: str,
    case: PhantomCase,
) -> Entry:
    """Write an image, or a slice as a case of its own, as a film."""
    _, in_mask, outlines = MODALITIES[name]
    entry = Entry(
        id=f"{name}-{own}",
        source=f"{DATA_SET}-{name}",
        patient_id=f"{name}-{patient}",
        split=None,
        path_image=folder / "images" / f"{name}-{own}.png",
        path_mask=folder / "masks" / f"{name}-{own}.png",
        spacing_mm=(round(case.spacing_mm[1], 4), round(case.spacing_mm[0], 4)),
        outlines=outlines,
        modality=name,
    )
    write_png(entry.path_image, case.pixels)
    write_png(entry.path_mask, np.where(np.isin(case.labels, in_mask), 255, 0).astype(np.uint8))
    return entry
