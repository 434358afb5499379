"""Films as training needs them: decoded once, at the model's size, and kept in memory or in a mapped file.

A cache file holds one set of films at one size. Its name is the content it was made from: the films', masks'
and label files' bytes, the preprocessing, the format and the versions of what decodes. A film that changes
makes another name, so that a stale file is never opened; a checksum over the whole file finds a damaged one,
which is written again. Files appear whole, so that several trainings may share a folder; all may be deleted.

Layout: (N, 4, S, S) uint8 (film, right lung, left lung, both), then JSON with the films' sizes, original and
resized, then the SHA-256 of both, then the length of the JSON as 8 bytes.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from adaloraqat.datasets.manifest import Entry, digest_of
from adaloraqat.errors import FilmError, ManifestError, OutputError
from adaloraqat.files import atomic_path
from adaloraqat.models.families import SegmentationModel
from adaloraqat.models.sam import encode
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

logger = logging.getLogger(__name__)

FORMAT = 2
PLANES = 4
_DECODERS = ("adaloraqat", "numpy", "pillow", "pydicom", "python-gdcm", "scipy")
_DIGEST, _LENGTH = 32, 8
_BLOCK = 1 << 20
_MUCH_MEMORY = 4_000_000_000  # bytes of decoded films from which on a cache is recommended
_REPORTED = 1000  # films between two lines of progress

Sides = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]
"""Right lung, left lung, both; bool (H, W) each."""


class Decoded(NamedTuple):
    """`planes` (N, 4, S, S) uint8: film, right lung, left lung, both, of 255; `frames` of the N films."""

    planes: NDArray[np.uint8]
    frames: tuple[Frame, ...]


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


def normalise(images: Tensor, valid: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return the network input (B, C, S, S) of (B, 1, S, S) films in [0, 1]; 0 in the padding.

    The same as `Preprocessing.normalise`, which does it for one film without torch.
    """
    mean = torch.tensor(preprocessing.mean).view(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std).view(1, -1, 1, 1)
    return (images.expand(-1, preprocessing.channels, -1, -1) - mean) / std * valid


def device_of(model: nn.Module) -> torch.device:
    """Return where the parameters of `model` lie."""
    return next(model.parameters()).device


def embed(
    model: SegmentationModel,
    images: Tensor,
    valid: Tensor,
    preprocessing: Preprocessing,
    memory_format: torch.memory_format = torch.preserve_format,
) -> Tensor:
    """Return the embedding (B, D, g, g), on the model's device, of (B, 1, S, S) films in [0, 1].

    In `torch.channels_last` a TinyViT, which works on tokens, copies less; last bits of its answer differ.
    """
    image = normalise(images, valid, preprocessing).to(device_of(model), memory_format=memory_format)
    return encode(model, image)


# ---- reading -------------------------------------------------------------------------------------------


def load_films(entries: Sequence[Entry], preprocessing: Preprocessing, cache: Path | None = None) -> FilmSet:
    """Read and resize every film and mask of `entries`.

    Args:
        entries: the films.
        preprocessing: gives the size S and the grey levels.
        cache: a folder where decoded films are kept and mapped from; the tensors are the same bit for bit.
            Without it, or where it cannot be written, 4·S² bytes per film are held in memory (0.26 MB at
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
        image, frame = preprocessing.resize(film.pixels, film.aspect)
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

    Sides come from the label file where there is one; else from the mask's two largest components, if both
    are large and one lies clearly left of the other (the right lung is at the image's left); else they are
    empty, and no one-lung box is drawn for this film.
    """
    size = (int(shape[0]), int(shape[1]))
    both = read_mask(entry.path_mask, size)
    if entry.path_labels is not None:
        labels = read_labels(entry.path_labels, size)
        return labels == RIGHT_LUNG, labels == LEFT_LUNG, both
    right, left = _two_components(both)
    return right, left, both


def _two_components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    components, count = ndimage.label(mask)
    nothing = np.zeros_like(mask)
    if count < 2:
        return nothing, nothing
    areas = np.bincount(components.ravel())[1:]
    first, second = np.argsort(areas)[::-1][:2] + 1
    if areas[second - 1] < 0.2 * areas[first - 1]:
        return nothing, nothing
    columns = {int(label): ndimage.center_of_mass(components == label)[1] for label in (first, second)}
    if abs(columns[int(first)] - columns[int(second)]) < 0.15 * mask.shape[1]:
        return nothing, nothing
    right = min(columns, key=lambda label: columns[label])
    left = max(columns, key=lambda label: columns[label])
    return components == right, components == left


# ---- the cache -----------------------------------------------------------------------------------------


def cached_films(
    folder: Path,
    entries: Sequence[Entry],
    preprocessing: Preprocessing,
    decode: Iterable[tuple[NDArray[np.uint8], Frame]],
) -> Decoded | None:
    """Return the decoded films of `entries`, mapped from `folder`; made there first where they are not.

    Args:
        folder: where caches lie; made if absent.
        entries: the films.
        preprocessing: what they are decoded with.
        decode: gives (4, S, S) uint8 and the frame of each film in turn; run through only if needed.

    Returns:
        None, after a warning, where the folder cannot be written or its disk is full.

    Raises:
        AdaloraqatError: what `decode` raises.
    """
    path = folder / f"{cache_key(entries, preprocessing)}.films"
    found = _opened(path, len(entries), preprocessing.image_size)
    if found is not None:
        return found
    if path.exists():
        logger.warning("The film cache %s is damaged and will be rebuilt.", path.name)
    try:
        with atomic_path(path) as temporary:
            _write(temporary, decode)
    except OutputError as error:
        logger.warning("%s Training continues without a film cache.", error)
        return None
    return _opened(path, len(entries), preprocessing.image_size)


def cache_key(entries: Sequence[Entry], preprocessing: Preprocessing) -> str:
    """Return 32 hexadecimal digits that change with any byte, setting or decoder that the films depend on.

    A film that is not there is for `decode` to tell of.
    """
    films = [
        [digest_of(path) if path is not None else None for path in (e.path_image, e.path_mask, e.path_labels)]
        for e in entries
    ]
    versions = {name: version(name) for name in _DECODERS}
    content = [FORMAT, preprocessing.to_dict(), versions, films]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _write(path: Path, decode: Iterable[tuple[NDArray[np.uint8], Frame]]) -> None:
    """Write one film after the other: a full disk shows as an error here, in a mapped file as a crash."""
    digest, shapes = hashlib.sha256(), []
    with open(path, "wb") as stream:
        for planes, frame in decode:
            data = np.ascontiguousarray(planes).tobytes()
            digest.update(data)
            stream.write(data)
            shapes.append((*frame.original, *frame.resized))
        document = json.dumps(shapes).encode()
        digest.update(document)
        stream.write(document + digest.digest() + len(document).to_bytes(_LENGTH, "little"))


def _opened(path: Path, count: int, side: int) -> Decoded | None:
    """Map a cache file; None where it is absent or not exactly what was written."""
    body = count * PLANES * side * side
    try:
        size = path.stat().st_size
        with open(path, "rb") as stream:
            stream.seek(size - _LENGTH)
            document_size = int.from_bytes(stream.read(_LENGTH), "little")
            if size != body + document_size + _DIGEST + _LENGTH:
                return None
            stream.seek(0)
            digest, left = hashlib.sha256(), body
            while left:
                block = stream.read(min(_BLOCK, left))
                digest.update(block)
                left -= len(block)
            document = stream.read(document_size)
            digest.update(document)
            if digest.digest() != stream.read(_DIGEST):
                return None
        shapes = json.loads(document)
        frames = tuple(
            Frame((int(h), int(w)), (int(rows), int(columns)), side) for h, w, rows, columns in shapes
        )
        # Mapped for copying on write: torch wants writable memory, and nothing ever reaches the file.
        planes = np.memmap(path, np.uint8, mode="c", shape=(count, PLANES, side, side))
    except (OSError, ValueError):
        return None
    return Decoded(planes, frames)
