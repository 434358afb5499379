"""PNG: read and written. Of 16 bits and several channels, Pillow keeps 8: too few for a 12-bit film.

Pillow's decoder is asked twice instead, for the high and for the low byte of each number. Which name of its
raw modes takes which byte follows from the PNG specification (W3C, third edition): the high one comes first.
"""

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.errors import FilmError
from adaloraqat.files import atomic_path
from adaloraqat.radiograph.film import grey
from adaloraqat.radiograph.formats.base import ORIENTATION, Picture

QUICK = 4
"""Compression of masks and overlays, which are many: less than the usual 6, so sooner written."""

_CHANNELS = {2: 3, 4: 2, 6: 4}  # colour type: channels, where they are several
_MODES = {2: "RGB", 6: "RGBA"}


class Png(Picture):
    """PNG of any depth and colour type."""

    suffixes = frozenset({".png"})
    marks = (b"\x89PNG",)
    pillow = ("PNG",)

    def _loaded(self, path: Path, image: Image.Image, notices: list[str]) -> Image.Image:
        with Image.open(path, formats=self.pillow) as again:
            again.verify()  # refuses damaged and missing chunks; decoding would take most for a film
        with open(path, "rb") as stream:
            start = stream.read(26)
        if start[12:16] == b"IHDR" and start[24] == 16 and start[25] in _CHANNELS:
            picture = _deep_grey(path, image)
        else:
            picture = super()._loaded(path, image, notices)
        if not np.asarray(picture)[-1].any() and _is_short(path.read_bytes()):  # what is missing is black
            raise FilmError(f"{path.name} is truncated: part of the film is missing; copy it again.")
        return picture


def write_png(
    path: str | os.PathLike[str], picture: NDArray[Any] | Image.Image, compress_level: int = 6
) -> None:
    """Write a picture, or pixels (H, W) of 8 or 16 bits or (H, W, 3) of 8, as PNG, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", compress_level=compress_level)


def _deep_grey(path: Path, image: Image.Image) -> Image.Image:
    """Return, as float values 0 to 65535, a PNG of several 16-bit channels; transparency lies on black."""
    deep = _deep(path.read_bytes())
    luma = deep[..., 0].astype(np.float32) if deep.shape[2] == 2 else grey(deep)
    if deep.shape[2] in (2, 4) and deep[..., -1].any():
        luma = luma * (deep[..., -1] / np.float32(65535))
    picture = Image.fromarray(luma.astype(np.float32, copy=False))
    picture.getexif()[ORIENTATION] = image.getexif().get(ORIENTATION, 1)
    return picture


def _deep(content: bytes) -> NDArray[np.uint16]:
    """Return (H, W, C) uint16 of a PNG's several channels: 2 (grey, alpha), 3 or 4 (colour, alpha).

    The checksums are the caller's to verify.

    Raises:
        ValueError: the file is damaged or truncated.
    """
    size = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    colour, interlaced = content[25], content[28]
    data = _compressed(content)

    def decoded(mode: str, raw: str) -> NDArray[np.uint8]:
        return np.asarray(Image.frombytes(mode, size, data, "zip", (raw, interlaced)))

    if colour not in _MODES:  # grey and alpha are as long as four channels of 8 bits
        return decoded("RGBA", "RGBA").view(">u2").astype(np.uint16)
    mode = _MODES[colour]
    values = decoded(mode, f"{mode};16B").astype(np.uint16)
    values <<= 8
    values |= decoded(mode, f"{mode};16L")
    return values


def _is_short(content: bytes) -> bool:
    """Return whether a PNG, if not interlaced, holds fewer bytes of pixels than its header says."""
    width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    line = 1 + (width * content[24] * {**_CHANNELS, 0: 1, 3: 1}.get(content[25], 1) + 7) // 8
    if content[28]:
        return False
    inflater, rest, found = zlib.decompressobj(), _compressed(content), 0
    while rest and not inflater.eof and found < height * line:
        found += len(inflater.decompress(rest, 1 << 20))
        rest = inflater.unconsumed_tail
    return found < height * line


def _compressed(content: bytes) -> bytes:
    """Return what the IDAT chunks hold."""
    parts, place = [], 8
    while place + 12 <= len(content):
        size = int.from_bytes(content[place : place + 4])
        if content[place + 4 : place + 8] == b"IDAT":
            parts.append(content[place + 8 : place + 8 + size])
        place += 12 + size
    return b"".join(parts)
