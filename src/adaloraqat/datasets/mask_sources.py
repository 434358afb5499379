"""Masks made from mask files: brought onto the film's grid, joined, and labelled by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.datasets.listing import Drawn, Shape
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import HEART, LEFT_LUNG, RIGHT_LUNG, read_mask
from adaloraqat.radiograph.film import check_most
from adaloraqat.radiograph.formats import open_picture

_ASPECT = 0.02


@dataclass(frozen=True)
class Joined:
    """One mask from the union of `files`; and labels, where `labels` {label: files} tells the sides apart.

    A structure may be labelled without belonging to the mask: the heart beside the lungs.
    """

    files: Sequence[Path]
    labels: Mapping[int, Sequence[Path]] = field(default_factory=dict)

    def draw(self, shape: Shape) -> Drawn:
        """See `MaskSource.draw`; lungs cover the heart where both claim a pixel."""
        parts = {path: to_grid(_read(path), shape, path.name) for path in self._all_files()}
        mask = _union([parts[path] for path in self.files], shape)
        if not self.labels:
            return Drawn(mask)
        structures = {
            label: _union([parts[path] for path in files], shape) for label, files in self.labels.items()
        }
        return Drawn(mask, _labelled(structures, shape))

    def _all_files(self) -> list[Path]:
        labelled = [path for files in self.labels.values() for path in files]
        return list(dict.fromkeys([*self.files, *labelled]))


@dataclass(frozen=True)
class LabelMap:
    """A mask where a label picture holds one of `values`; `sides` {label: value} tells the lungs apart."""

    path: Path
    values: tuple[int, ...]
    sides: tuple[tuple[int, int], ...] = ()

    def draw(self, shape: Shape) -> Drawn:
        """See `MaskSource.draw`."""
        numbers: NDArray[Any] = np.asarray(open_picture(self.path)[0])
        if numbers.shape != shape:
            raise FilmError(
                f"The labels {self.path.name} and their film differ in size: both must be on one grid."
            )
        labels = np.zeros(shape, dtype=np.uint8)
        for label, value in self.sides:
            labels[numbers == value] = label
        return Drawn(np.isin(numbers, self.values), labels if self.sides else None)


def to_grid(mask: NDArray[np.bool_], shape: Shape, name: str) -> NDArray[np.bool_]:
    """Return a mask (h, w) of the same picture at another size on the grid `shape` (H, W).

    Each side is scaled by itself, pixel areas onto pixel areas; a pixel is set where at least half of the
    interpolated mask covers it. This keeps the outline in place to half a pixel, where nearest-neighbour
    scaling would draw steps.

    Raises:
        FilmError: the sides have another ratio: it is the mask of another picture, or of a cut of it.
    """
    height, width = mask.shape
    if (height, width) == shape:
        return mask
    wanted, ratio = shape[1] / shape[0], width / height
    pixel = 1 / min(height, width, *shape)  # sides are whole numbers
    if abs(ratio / wanted - 1) > _ASPECT + pixel:
        raise FilmError(
            f"{name} has {width} x {height} pixels and its film {shape[1]} x {shape[0]}: their sides have "
            "different ratios, so that it belongs to another picture; give what was drawn on this film."
        )
    soft = Image.fromarray(mask.astype(np.float32)).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(soft) >= 0.5


def labels_to_grid(labels: NDArray[np.uint8], shape: Shape, name: str) -> NDArray[np.uint8]:
    """Return labels (h, w) of the same picture at another size on the grid `shape` (H, W).

    Each structure is scaled as `to_grid` scales a mask, so that mask and labels keep one outline.

    Raises:
        FilmError: the sides have another ratio: they are the labels of another picture, or of a cut of it.
    """
    structures = (RIGHT_LUNG, LEFT_LUNG, HEART)
    return _labelled({label: to_grid(labels == label, shape, name) for label in structures}, shape)


def _labelled(structures: Mapping[int, NDArray[np.bool_]], shape: Shape) -> NDArray[np.uint8]:
    """Return (H, W) labels of masks (H, W) by label; lungs cover the heart where both claim a pixel."""
    labels = np.zeros(shape, dtype=np.uint8)
    for label in sorted(structures, reverse=True):  # the heart (3) first, the lungs over it
        labels[structures[label]] = label
    return labels


def _union(masks: Sequence[NDArray[np.bool_]], shape: Shape) -> NDArray[np.bool_]:
    joined = np.zeros(shape, dtype=bool)
    for mask in masks:
        joined |= mask
    return joined


def _read(path: Path) -> NDArray[np.bool_]:
    if path.suffix.lower() != ".gif":
        return read_mask(path)
    # only SCR ships GIF, and only for masks; no film is ever one
    try:
        with Image.open(path, formats=("GIF",)) as image:
            check_most(path.name, image.height, image.width)
            values: NDArray[Any] = np.asarray(image.convert("L"))
    except FilmError:
        raise
    except FileNotFoundError as error:
        raise FilmError(f"The mask {path.name} does not exist: check the path.") from error
    except Exception as error:  # damaged bytes raise many kinds
        raise FilmError(f"The mask {path.name} is damaged or cut short: copy it again.") from error
    return values > 0
