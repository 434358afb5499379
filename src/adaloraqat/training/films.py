"""Films as training needs them: decoded once, at the model's size; batches drawn by seed."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import FilmError, ManifestError
from adaloraqat.radiograph import (
    LEFT_LUNG,
    RIGHT_LUNG,
    Film,
    Frame,
    Preprocessing,
    read_film,
    read_labels,
    read_mask,
)
from adaloraqat.training.film_cache import PLANES, Decoded, cached_films

logger = logging.getLogger(__name__)

Sides = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]
"""Right lung, left lung, both; bool (H, W) each."""

_MUCH_MEMORY = 4_000_000_000  # bytes of decoded films from which on a cache is recommended
_REPORTED = 1000  # films between two lines of progress


@dataclass(frozen=True)
class FilmSet:
    """Decoded films of one split.

    `images` (N, 1, S, S) uint8 film in [0, 255]; `targets` (N, 3, S, S) uint8 right lung, left lung, both;
    `frames` how each fits the square; `entries` their manifest rows.
    """

    images: Tensor
    targets: Tensor
    frames: tuple[Frame, ...]
    entries: tuple[Entry, ...]

    def __len__(self) -> int:
        return len(self.entries)

    def subset(self, indices: Sequence[int]) -> "FilmSet":
        """Return the films at `indices`, in that order."""
        chosen = torch.as_tensor(list(indices))
        return FilmSet(
            self.images[chosen],
            self.targets[chosen],
            tuple(self.frames[index] for index in indices),
            tuple(self.entries[index] for index in indices),
        )

    def valid(self, indices: Sequence[int]) -> Tensor:
        """Return (B, 1, S, S): 1 where the film is, 0 in the padding."""
        valid = torch.zeros(len(indices), 1, *self.images.shape[-2:])
        for row, index in enumerate(indices):
            height, width = self.frames[index].resized
            valid[row, :, :height, :width] = 1
        return valid

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return images (B, 1, S, S) in [0, 1], targets (B, 3, S, S) in [0, 1], valid (B, 1, S, S)."""
        chosen = torch.as_tensor(list(indices))
        return self.images[chosen] / 255.0, self.targets[chosen] / 255.0, self.valid(indices)


def load_films(entries: Sequence[Entry], preprocessing: Preprocessing, cache: Path | None = None) -> FilmSet:
    """Read and resize every film and mask of `entries`.

    Args:
        entries: the films.
        preprocessing: gives the size S and the grey levels.
        cache: a folder where decoded films are kept and mapped from; the tensors are the same bit for bit.
            Without it, or where it cannot be written, 4·S² bytes a film are held in memory (0.26 MB at
            256 px).

    Raises:
        FilmError: a film or a mask cannot be read, or the two differ in size.
        ManifestError: `entries` is empty.
    """
    if not entries:
        raise ManifestError("The manifest has no film for this split; check its split and source columns.")
    decoded = cached_films(cache, entries, preprocessing, _decode(entries, preprocessing)) if cache else None
    planes, frames = decoded or _in_memory(entries, preprocessing)
    pixels = torch.from_numpy(planes)
    return FilmSet(pixels[:, :1], pixels[:, 1:], frames, tuple(entries))


def _in_memory(entries: Sequence[Entry], preprocessing: Preprocessing) -> Decoded:
    size = (len(entries), PLANES, preprocessing.image_size, preprocessing.image_size)
    if math.prod(size) > _MUCH_MEMORY:
        logger.warning(
            "%d films take %.1f GB of memory: --cache DIR keeps them on disk.", size[0], math.prod(size) / 1e9
        )
    planes, frames = np.empty(size, np.uint8), []
    for row, (film, frame) in enumerate(_decode(entries, preprocessing)):
        planes[row] = film
        frames.append(frame)
    return Decoded(planes, tuple(frames))


def _decode(
    entries: Sequence[Entry], preprocessing: Preprocessing
) -> Iterator[tuple[NDArray[np.uint8], Frame]]:
    """Yield (4, S, S) uint8 film, right lung, left lung, both, and the frame, of each entry in turn."""
    for number, entry in enumerate(entries, start=1):
        film, sides = _read(entry)
        image, frame = preprocessing.resize(film.pixels)
        masks = [frame.mask_to_model(side) for side in sides]
        yield np.round(np.stack([image, *masks]) * 255).astype(np.uint8), frame
        if number % _REPORTED == 0:
            logger.info("%d of %d films are decoded", number, len(entries))


def _read(entry: Entry) -> tuple[Film, Sides]:
    film = read_film(entry.path_image)
    return film, lung_sides(entry, film.pixels.shape)


def unusable_films(entries: Sequence[Entry]) -> dict[str, str]:
    """Read every film and mask; return {id: reason} of those that cannot be, in their order."""
    found = {}
    for entry in entries:
        try:
            _read(entry)
        except FilmError as error:
            found[entry.id] = str(error)
    return found


def lung_sides(entry: Entry, shape: tuple[int, ...]) -> Sides:
    """Return (right, left, both) bool (H, W) of a film's mask on the original grid.

    Sides come from the label file where there is one; else from the mask's two largest parts, if both are
    large and one lies clearly left of the other (the right lung is at the image's left); else they are empty,
    and no one-lung box is drawn for this film.
    """
    size = (int(shape[0]), int(shape[1]))
    both = read_mask(entry.path_mask, size)
    if entry.path_labels is not None:
        labels = read_labels(entry.path_labels, size)
        return labels == RIGHT_LUNG, labels == LEFT_LUNG, both
    right, left = _two_parts(both)
    return right, left, both


def _two_parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    parts, count = ndimage.label(mask)
    nothing = np.zeros_like(mask)
    if count < 2:
        return nothing, nothing
    areas = np.bincount(parts.ravel())[1:]
    first, second = np.argsort(areas)[::-1][:2] + 1
    if areas[second - 1] < 0.2 * areas[first - 1]:
        return nothing, nothing
    columns = {int(part): ndimage.center_of_mass(parts == part)[1] for part in (first, second)}
    if abs(columns[int(first)] - columns[int(second)]) < 0.15 * mask.shape[1]:
        return nothing, nothing
    right = min(columns, key=lambda part: columns[part])
    left = max(columns, key=lambda part: columns[part])
    return parts == right, parts == left


def normalise(images: Tensor, valid: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return the network input (B, C, S, S) of (B, 1, S, S) films in [0, 1]; 0 in the padding.

    The same as `Preprocessing.normalise`, which does it for one film without torch.
    """
    mean = torch.tensor(preprocessing.mean).view(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std).view(1, -1, 1, 1)
    return (images.expand(-1, preprocessing.channels, -1, -1) - mean) / std * valid


def draw_indices(count: int, batch_size: int, step: int, seed: Sequence[int]) -> list[int]:
    """Return the films of batch number `step` of an endless stream of seeded permutations.

    Without state: any step can be computed alone, which makes resuming exact.
    """
    wanted = range(step * batch_size, (step + 1) * batch_size)
    orders = {
        turn: np.random.default_rng([*seed, turn]).permutation(count) for turn in {i // count for i in wanted}
    }
    return [int(orders[i // count][i % count]) for i in wanted]
