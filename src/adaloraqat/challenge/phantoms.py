"""Phantoms of several modalities, drawn and written: challenge cases (.npz), and their slices as films.

They are plain on purpose. A CT of the chest: a stack of axial slices with lungs and heart. An ultrasound
picture: a fan of speckle with dark cysts. And chest films, as `datasets.phantom` draws them.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.challenge.archive import write_npz
from adaloraqat.datasets.manifest import Entry, write_manifest
from adaloraqat.datasets.phantom.draw import draw_phantom
from adaloraqat.datasets.phantom.shapes import Plane, blur, clouds
from adaloraqat.datasets.phantom.write import FRACTIONS
from adaloraqat.datasets.split import assign_splits
from adaloraqat.errors import FilmError, ManifestError
from adaloraqat.progress import Progress, no_progress
from adaloraqat.radiograph import HEART, LEFT_LUNG, RIGHT_LUNG, Box, write_png
from adaloraqat.renamed import renamed_arguments

DATA_SET = "phantom"
_SLICES = 24
SMALLEST, LARGEST = 32, 1024
MOST_SLICES = 1024
_FIELD_MM = 340.0  # width of a slice
_HEIGHT_MM = 280.0  # height of the stack
_LUNG, _TISSUE, _HEART, _BONE = 0.12, 0.52, 0.62, 0.95  # grey levels of the soft-tissue window

_DEPTH_MM = 120.0  # what a picture shows from top to bottom
_OPENING = math.radians(38)  # of the fan, to each side
_NEAR, _FAR = 0.1, 1.08  # of the picture's height, from the probe's centre above its upper edge
_TRIES = 50


@dataclass(frozen=True)
class PhantomCase:
    """A drawn image or volume and its truth.

    `pixels` (D, H, W) or (H, W) uint8; `labels` uint8 on the same grid, 0 and 1 to N without a gap;
    `spacing_mm` along x, y (and z for a volume), the order of the challenge's files.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, ...]


@dataclass(frozen=True)
class _Organ:
    """An ellipsoid in fractions of the slice's width (x, y) and of the stack's height (z)."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    grey: float
    label: int

    def coverage(self, x: Plane, y: Plane, z: float, pixel: float) -> Plane:
        """Coverage in [0, 1] of each pixel on the slice at height z."""
        rest = 1 - ((z - self.centre[2]) / self.radii[2]) ** 2
        if rest <= 0:
            return np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32)
        across, down = (radius * math.sqrt(rest) for radius in self.radii[:2])
        distance = 1 - np.hypot((x - self.centre[0]) / across, (y - self.centre[1]) / down)  # 1 at the centre
        return np.clip(distance * np.float32(min(across, down) / pixel) + np.float32(0.5), 0, 1)


def draw_film(seed: int, size: int = 128) -> PhantomCase:
    """Draw a chest film as a case: labels 1 right lung, 2 left lung, 3 heart."""
    film = draw_phantom(seed, size)
    row, column = film.spacing_mm
    return PhantomCase(np.round(film.pixels * np.float32(255)).astype(np.uint8), film.labels, (column, row))


def draw_volume(seed: int, size: int = 128, slices: int = 32) -> PhantomCase:
    """Draw the stack number `seed`: (slices, size, size), labels 1 right lung, 2 left lung, 3 heart.

    The same seed gives the same stack. The lungs taper towards the apex and the base, so that an object's
    box on the middle slice is larger than its outline on the last ones.

    Raises:
        FilmError: the size, the number of slices or the seed is out of range.
    """
    _check_request(seed, size)
    if not 1 <= slices <= MOST_SLICES:
        raise FilmError(f"A stack of {slices} slices cannot be drawn: choose from 1 to {MOST_SLICES}.")
    random = np.random.default_rng([seed, 11])
    organs = _organs(random)
    body = (random.uniform(0.43, 0.47), random.uniform(0.32, 0.37))
    centre = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    x, y = centre[None, :], centre[:, None]
    pixels, labels = (np.zeros((slices, size, size), np.uint8) for _ in range(2))
    noise = random.uniform(0.02, 0.04)
    for number in range(slices):
        height = (number + 0.5) / slices
        grey, labels[number] = _axial(x, y, height, organs, body, 1 / size)
        grey = blur(grey, 0.4 * size / 128) + np.float32(0.02) * clouds(random, size, 6)
        grey += np.float32(noise) * random.standard_normal((size, size), dtype=np.float32)
        pixels[number] = np.round(np.clip(grey, 0, 1) * 255)
    return PhantomCase(pixels, labels, (_FIELD_MM / size, _FIELD_MM / size, _HEIGHT_MM / slices))


def draw_ultrasound(seed: int, size: int = 128, most: int = 3) -> PhantomCase:
    """Draw the picture number `seed`: (size, size), labels 1 to N, one for each of 1 to `most` cysts.

    The same seed gives the same picture. Cysts are dark, do not touch, and lie inside the fan; behind each
    one the echo is stronger, and everywhere it fades with depth.

    Raises:
        FilmError: the size or the seed is out of range.
    """
    _check_request(seed, size)
    random = np.random.default_rng([seed, 12])
    centre = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    x, y = np.broadcast_arrays(centre[None, :] - np.float32(0.5), centre[:, None] + np.float32(_NEAR))
    distance, angle = np.hypot(x, y), np.arctan2(x, y)
    fan = (np.abs(angle) < _OPENING) & (distance > 2 * _NEAR) & (distance < _FAR)
    echo = np.float32(0.45) * (1 + np.float32(0.25) * clouds(random, size, 5))
    labels = np.zeros((size, size), np.uint8)
    for label, cyst in enumerate(_cysts(random, int(random.integers(1, most + 1))), start=1):
        inside, behind = _cyst(x, y, distance, angle, cyst)
        echo = echo * (1 + np.float32(0.5) * behind)
        echo = np.where(inside, np.float32(0.06), echo)
        labels[inside & fan] = label
    echo = blur(echo, 0.5 * size / 128) * np.exp(-np.float32(0.9) * distance)
    pixels = np.where(fan, echo * _speckle(random, size) * np.float32(1.5), 0)
    scale = _DEPTH_MM / size
    return PhantomCase(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8), labels, (scale, scale))


def _check_request(seed: int, size: int) -> None:
    """Refuse what cannot be drawn.

    Raises:
        FilmError: the size or the seed is out of range.
    """
    if not SMALLEST <= size <= LARGEST:
        raise FilmError(
            f"A phantom of {size} pixels cannot be drawn: choose a size from {SMALLEST} to {LARGEST}."
        )
    if seed < 0:
        raise FilmError("A phantom's seed cannot be negative: choose 0 or a positive whole number.")


def _organs(random: np.random.Generator) -> list[_Organ]:
    shift = random.uniform(-0.02, 0.02, 2)
    middle = random.uniform(0.46, 0.54)
    organs = []
    for label, x in ((RIGHT_LUNG, 0.29), (LEFT_LUNG, 0.71)):
        place = (x + shift[0], 0.48 + shift[1], middle + random.uniform(-0.03, 0.03))
        radii = (random.uniform(0.12, 0.15), random.uniform(0.19, 0.24), random.uniform(0.38, 0.44))
        organs.append(_Organ(place, radii, _LUNG, label))
    place = (0.55 + shift[0], 0.40 + shift[1], random.uniform(0.6, 0.68))
    organs.append(_Organ(place, (random.uniform(0.12, 0.15), random.uniform(0.1, 0.13), 0.22), _HEART, HEART))
    spine = (0.5 + shift[0], 0.74 + shift[1], 0.5)
    return [*organs, _Organ(spine, (0.05, 0.05, 9.0), _BONE, 0)]


def _axial(
    x: Plane, y: Plane, height: float, organs: list[_Organ], body: tuple[float, float], pixel: float
) -> tuple[Plane, NDArray[np.uint8]]:
    skin = _Organ((0.5, 0.5, 0.5), (*body, 9.0), _TISSUE, 0).coverage(x, y, height, pixel)
    grey = skin * np.float32(_TISSUE)
    labels = np.zeros(skin.shape, np.uint8)
    for organ in organs:
        covered = organ.coverage(x, y, height, pixel) * skin
        grey = grey * (1 - covered) + np.float32(organ.grey) * covered
        labels[covered >= 0.5] = organ.label
    return grey, labels


def _cysts(random: np.random.Generator, count: int) -> list[tuple[float, float, float, float]]:
    """Angle, distance and both radii of cysts that keep apart; fewer than `count` where there is no room."""
    cysts: list[tuple[float, float, float, float]] = []
    for _ in range(_TRIES):
        if len(cysts) == count:
            break
        new = (
            random.uniform(-0.4, 0.4),
            random.uniform(0.4, 0.8),
            random.uniform(0.06, 0.13),
            random.uniform(0.05, 0.1),
        )
        if all(_apart(new, other) for other in cysts):
            cysts.append(new)
    return cysts


def _apart(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    place = [(far * math.sin(angle), far * math.cos(angle)) for angle, far, *_ in (a, b)]
    return math.dist(*place) > max(a[2:]) + max(b[2:]) + 0.05


def _cyst(
    x: Plane, y: Plane, distance: Plane, angle: Plane, cyst: tuple[float, float, float, float]
) -> tuple[NDArray[np.bool_], Plane]:
    """Where the cyst lies, and where the echo behind it is stronger (0 to 1)."""
    at, far, across, down = cyst
    centre_x, centre_y = far * math.sin(at), far * math.cos(at)
    inside = np.hypot((x - centre_x) / across, (y - centre_y) / down) < 1
    shadow = np.clip(1 - np.abs(angle - at) * far / across, 0, 1) * (distance > far)
    return inside, shadow.astype(np.float32)


def _speckle(random: np.random.Generator, size: int) -> Plane:
    """Multiplicative noise of mean 1: the magnitude of blurred complex noise (Rayleigh)."""
    parts = [blur(random.standard_normal((size, size), dtype=np.float32), 0.7 * size / 128) for _ in range(2)]
    magnitude = np.hypot(*parts)
    return (magnitude / magnitude.mean()).astype(np.float32)


# ---- writing ------------------------------------------------------------------------------------------


MODALITIES: dict[str, tuple[Callable[[int, int], PhantomCase], tuple[int, ...], str | None]] = {
    "XRay": (draw_film, (1, 2), "lung-field"),
    "CT": (partial(draw_volume, slices=_SLICES), (1, 2), "lungs"),
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
    slices = ((z, replace(case, pixels=case.pixels[z], labels=case.labels[z])) for z in kept)
    return [_write_slice(folder, name, f"{number}-z{z:04d}", number, own) for z, own in slices]


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
