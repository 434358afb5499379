"""PNG files of 16 bits and several channels, which Pillow reduces to 8 bits: too few for a 12-bit film.

The format is that of the PNG specification (W3C, third edition): chunks (5), interlacing (8.1), filters (9).
"""

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_CHANNELS = {2: 3, 4: 2, 6: 4}  # colour type: channels
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def is_deep(path: Path) -> bool:
    """Tell whether a PNG file has 16 bits and more than one channel."""
    with open(path, "rb") as stream:
        header = stream.read(26)
    return header[12:16] == b"IHDR" and header[24] == 16 and header[25] in _CHANNELS


def read_deep_png(path: Path) -> NDArray[np.uint16]:
    """Return (H, W, C) uint16 of a PNG that `is_deep`; C is 2 (grey, alpha), 3 or 4 (colour, alpha).

    Raises:
        ValueError, zlib.error: the file is damaged or cut short.
    """
    content = path.read_bytes()
    width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    channels, interlaced = _CHANNELS[content[25]], content[28] == 1
    passes = _ADAM7 if interlaced else _WHOLE
    sizes = [(len(range(y, height, dy)), len(range(x, width, dx))) for y, x, dy, dx in passes]
    strides = [2 * channels * columns for _, columns in sizes]
    lengths = [rows * (stride + 1) if stride else 0 for (rows, _), stride in zip(sizes, strides, strict=True)]
    data = _inflated(content, sum(lengths))
    picture = np.zeros((height, width, channels), np.uint16)
    place = 0
    for (y, x, dy, dx), (rows, columns), length in zip(passes, sizes, lengths, strict=True):
        if length:
            lines = np.frombuffer(data, np.uint8, length, place).reshape(rows, -1)
            plain = _unfiltered(lines[:, 0], lines[:, 1:].reshape(rows, columns, 2 * channels))
            picture[y::dy, x::dx] = plain.view(">u2")
        place += length
    return picture


def _inflated(content: bytes, length: int) -> bytes:
    """Return the `length` bytes that the IDAT chunks hold; their checksums must be right."""
    parts, place = [], 8
    while place + 12 <= len(content):
        size, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        body = content[place + 8 : place + 8 + size]
        if kind == b"IDAT":
            if int.from_bytes(content[place + 8 + size : place + 12 + size]) != zlib.crc32(kind + body):
                raise ValueError("an IDAT chunk is damaged")
            parts.append(body)
        place += 12 + size
    data = zlib.decompressobj().decompress(b"".join(parts), length)
    if len(data) < length:
        raise ValueError("the pixel data are cut short")
    return data


def _unfiltered(filters: NDArray[np.uint8], lines: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo the filters of (rows, columns, bytes) `lines`.

    A byte depends on the pixels left of, above, and above left of it, so that all pixels of one antidiagonal
    are known at once: rows + columns steps instead of rows * columns.
    """
    if filters.max() > 4:
        raise ValueError("an unknown filter")
    rows, columns, width = lines.shape
    known = np.zeros((rows + 1, columns + 1, width), np.int16)  # one row and column of zeros before
    for step in range(rows + columns - 1):
        y = np.arange(max(0, step - columns + 1), min(rows, step + 1))
        x = step - y
        left, above, corner = known[y + 1, x], known[y, x + 1], known[y, x]
        guess = left + above - corner
        far = [np.abs(guess - near) for near in (left, above, corner)]
        paeth = np.where(
            (far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], above, corner)
        )
        kinds = filters[y][:, None]
        added = np.select(
            [kinds == 1, kinds == 2, kinds == 3, kinds == 4], [left, above, (left + above) // 2, paeth], 0
        )
        known[y + 1, x + 1] = (lines[y, x] + added) % 256
    return known[1:, 1:].astype(np.uint8)
