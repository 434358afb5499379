"""Decoded films on disk, memory-mapped: read and resized once, however often they are trained on.

One file holds one set of films at one size. Its name is the content it was made from: the films', masks' and
label files' bytes, the preprocessing, the format and the versions of what decodes. A film that changes makes
another name, so that a stale file is never opened; a checksum over the whole file finds a damaged one, which
is written again. Files appear whole, so that several trainings may share a folder; all may be deleted.

Layout: (N, 4, S, S) uint8 (film, right lung, left lung, both), then JSON with the films' original sizes, then
the SHA-256 of both, then the length of the JSON as 8 bytes.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.manifest import Entry, digest_of
from adaloraqat.errors import OutputError
from adaloraqat.files import atomic_path
from adaloraqat.radiograph import Frame, Preprocessing

logger = logging.getLogger(__name__)

FORMAT = 1
PLANES = 4
_DECODERS = ("adaloraqat", "numpy", "pillow", "pydicom", "python-gdcm", "scipy")
_DIGEST, _LENGTH = 32, 8
_BLOCK = 1 << 20


class Decoded(NamedTuple):
    """`planes` (N, 4, S, S) uint8: film, right lung, left lung, both, of 255; `frames` of the N films."""

    planes: NDArray[np.uint8]
    frames: tuple[Frame, ...]


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
        logger.warning("The film cache %s is damaged and is made again.", path.name)
    failures: list[Exception] = []
    try:
        with atomic_path(path) as temporary:
            _write(temporary, _watched(decode, failures))
    except OutputError as error:
        if failures:
            raise failures[0] from error
        logger.warning("%s Training goes on without a film cache.", error)
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


def _watched(
    decode: Iterable[tuple[NDArray[np.uint8], Frame]], failures: list[Exception]
) -> Iterable[tuple[NDArray[np.uint8], Frame]]:
    """Pass films on, and keep what decoding raised apart from what writing raised."""
    try:
        yield from decode
    except Exception as error:
        failures.append(error)
        raise


def _write(path: Path, decode: Iterable[tuple[NDArray[np.uint8], Frame]]) -> None:
    """Write one film after the other: a full disk shows as an error here, in a mapped file as a crash."""
    digest, shapes = hashlib.sha256(), []
    with open(path, "wb") as stream:
        for planes, frame in decode:
            data = np.ascontiguousarray(planes).tobytes()
            digest.update(data)
            stream.write(data)
            shapes.append(frame.original)
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
        frames = tuple(Frame.of((int(height), int(width)), side) for height, width in shapes)
        # Mapped for copying on write: torch wants writable memory, and nothing ever reaches the file.
        planes = np.memmap(path, np.uint8, mode="c", shape=(count, PLANES, side, side))
    except (OSError, ValueError):
        return None
    return Decoded(planes, frames)
