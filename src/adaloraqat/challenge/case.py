"""A case of the CVPR 2024 challenge "MedSAM on Laptop": an image or a volume with the boxes of its objects.

Arrays of the .npz file: `imgs` (H, W), (H, W, 3), (D, H, W) or (D, H, W, 3); `boxes` (N, 4) x_min, y_min,
x_max, y_max, or for a volume (N, 6) x_min, y_min, z_min, x_max, y_max, z_max, in pixels and slices of
`imgs`; optionally `gts`, whose value i is object i, and `spacing` in mm.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaloraqat.challenge.archive import read_array
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import Box
from adaloraqat.radiograph.film import check_size, scaled
from adaloraqat.radiograph.formats import ONE_FILM_SUFFIXES, format_of
from adaloraqat.radiograph.formats.npz import Archive, Npz, image_name, is_image

MOST_VOXELS = 1 << 31
"""Volumes with more voxels are refused before they are decompressed."""

MOST_OBJECTS = 65_535
"""The largest label that `segs` can hold (uint16)."""

_NUMBERS = {4: "x_min y_min x_max y_max", 6: "x_min y_min z_min x_max y_max z_max"}


class VolumeBox(NamedTuple):
    """An object's box: in the slice as `Box`, over slices `z_min` to `z_max`, the last exclusive.

    `middle` is the slice from which the box is carried up and down; an image is a volume of one slice.
    """

    in_slice: Box
    z_min: int
    z_max: int

    @property
    def middle(self) -> int:
        """Slice in the middle, the upper of two."""
        return (self.z_min + self.z_max) // 2


@dataclass(frozen=True, eq=False)
class Case:
    """An image or a volume, opened; its arrays may lie on disk, and are gone when the case is closed.

    Attributes:
        name: the file's name.
        voxels: (D, H, W) or (D, H, W, 3|4) of any real type; D = 1 for an image.
        is_volume: the file holds a volume, be it of one slice.
        boxes: one per object, in the file's order; object i has the label i + 1.
        boxes_given: the boxes come from the file or the caller; else the whole of each slice is the box.
        truth: (D, H, W) labels of the file, None where it holds none.
        spacing_mm: the file's distances in mm, two or three positive numbers; None where it holds none.
        folder: a folder for temporary files, removed when the case is closed.
    """

    name: str
    voxels: NDArray[Any]
    is_volume: bool
    boxes: tuple[VolumeBox, ...]
    boxes_given: bool
    truth: NDArray[Any] | None
    spacing_mm: tuple[float, ...] | None
    folder: Path

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        depth, height, width = self.voxels.shape[:3]
        return depth, height, width

    def pixels(self, z: int) -> NDArray[np.float32]:
        """Slice z as (H, W) or (H, W, 3) float32 in [0, 1]: 8-bit values over 255, others by their range.

        Raises:
            FilmError: a value is NaN or infinite.
        """
        values = self.voxels[z]
        return scaled(np.asarray(values[..., :3] if values.ndim == 3 else values), self.name)


def is_case(path: Path) -> bool:
    """Return whether a file is a case: an .npz with `boxes`, or with a volume. A damaged one is not.

    What is named like a picture or a DICOM file is not opened, because a folder may hold very many of them.
    """
    if path.suffix.lower() in ONE_FILM_SUFFIXES:
        return False
    try:
        if not isinstance(format_of(path), Npz):
            return False
        with Archive(path) as archive:
            array = image_name(archive)
            return "boxes" in archive.names() or not is_image(archive.header(array).shape)
    except (FilmError, OSError):
        return False


@contextmanager
def open_case(path: Path, box: Sequence[float] | None = None) -> Iterator[Case]:
    """Open a case and check all of it but the voxels' values, which each slice checks.

    Args:
        path: the .npz file.
        box: x_min, y_min, x_max, y_max in place of the file's boxes; in a volume, for its whole depth.

    Raises:
        FilmError: damaged, with arrays of other shapes than said above, or a box that is missing, inverted
            or outside.
        OutputError: no space for a temporary copy of a large volume.
    """
    with tempfile.TemporaryDirectory(prefix="adaloraqat-") as temporary, Archive(path) as archive:
        folder = Path(temporary)
        array = image_name(archive)
        shape = archive.header(array).shape
        is_volume = not is_image(shape)
        grid = _grid(path.name, shape)  # (D, H, W)
        boxes, given = _boxes(archive, grid, is_volume, box)
        truth = _truth(archive, grid, is_volume, folder)
        voxels = read_array(archive, array, folder)
        yield Case(
            name=path.name,
            voxels=voxels if is_volume else voxels[None],
            is_volume=is_volume,
            boxes=boxes,
            boxes_given=given,
            truth=truth,
            spacing_mm=_spacing(archive),
            folder=folder,
        )


def _grid(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(D, H, W) of an image's or a volume's array."""
    if is_image(shape):
        check_size(name, *shape[:2])
        return 1, shape[0], shape[1]
    if len(shape) != 3 and not (len(shape) == 4 and shape[3] in (3, 4)):
        raise FilmError(
            f"{name} holds an array of the shape {shape}: an image (height, width), in colour "
            "(height, width, 3), or a volume (slices, height, width) is needed."
        )
    depth, height, width = shape[:3]
    check_size(f"A slice of {name}", height, width)
    if depth < 1 or math.prod(shape) > MOST_VOXELS:
        raise FilmError(
            f"{name} holds {depth} slices of {width} x {height} pixels: it needs at least one slice, and at "
            f"most {MOST_VOXELS // 10**6} million voxels."
        )
    return depth, height, width


def _boxes(
    archive: Archive, grid: tuple[int, int, int], is_volume: bool, box: Sequence[float] | None
) -> tuple[tuple[VolumeBox, ...], bool]:
    depth, height, width = grid
    if box is not None:
        return (VolumeBox(Box.given(box, (height, width)), 0, depth),), True
    if "boxes" not in archive.names():
        return (VolumeBox(Box.whole((height, width)), 0, depth),), False
    numbers = 6 if is_volume else 4
    shape = archive.header("boxes").shape
    if shape[-1:] != (numbers,) or len(shape) > 2 or shape == (0, numbers):
        raise FilmError(
            f"The boxes of {archive.name} have the shape {shape}: {'a volume' if is_volume else 'an image'} "
            f"needs one row of {_NUMBERS[numbers]} for each object."
        )
    if len(shape) == 2 and shape[0] > MOST_OBJECTS:
        raise FilmError(f"{archive.name} holds {shape[0]} boxes: give at most {MOST_OBJECTS} per file.")
    rows = archive.read("boxes").reshape(-1, numbers).tolist()
    return tuple(_volume_box(archive.name, i, row, grid) for i, row in enumerate(rows, start=1)), True


def _volume_box(name: str, number: int, row: list[float], grid: tuple[int, int, int]) -> VolumeBox:
    depth, height, width = grid
    half = len(row) // 2
    where = f"Box {number} of {name} cannot be used"
    try:
        in_slice = Box.given((*row[:2], *row[half : half + 2]), (height, width))
    except FilmError as error:
        text = str(error)
        raise FilmError(f"{where}: {text[0].lower()}{text[1:]}") from error
    if half == 2:
        return VolumeBox(in_slice, 0, 1)
    if not (math.isfinite(row[2]) and math.isfinite(row[5])):
        raise FilmError(f"{where}: z_min and z_max must be finite numbers.")
    if row[2] >= row[5]:
        raise FilmError(f"{where}: z_min {row[2]:g} is not below z_max {row[5]:g}.")
    z_min, z_max = max(0, math.floor(row[2])), min(depth, math.ceil(row[5]))
    if z_min >= z_max:
        raise FilmError(
            f"{where}: slices {row[2]:g} to {row[5]:g} lie outside the volume, which has 0 to {depth}."
        )
    return VolumeBox(in_slice, z_min, z_max)


def _truth(
    archive: Archive, grid: tuple[int, int, int], is_volume: bool, folder: Path
) -> NDArray[Any] | None:
    if "gts" not in archive.names():
        return None
    wanted = grid if is_volume else grid[1:]
    header = archive.header("gts")
    if header.shape != wanted:
        raise FilmError(
            f"The gts of {archive.name} have the shape {header.shape} and its imgs {wanted}: "
            "give both on the same grid, or leave gts out."
        )
    if header.dtype.kind == "f":
        raise FilmError(f"The gts of {archive.name} are {header.dtype} values: labels are whole numbers.")
    return read_array(archive, "gts", folder).reshape(grid)


def _spacing(archive: Archive) -> tuple[float, ...] | None:
    """The file's spacing where it is one; a damaged one is not a reason to refuse the case."""
    if "spacing" not in archive.names() or archive.header("spacing").shape not in ((2,), (3,)):
        return None
    values = tuple(float(value) for value in archive.read("spacing"))
    return values if all(math.isfinite(value) and value > 0 for value in values) else None
