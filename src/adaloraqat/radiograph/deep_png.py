"""PNG files of 16 bits and several channels, which Pillow reduces to 8 bits: too few for a 12-bit film.

Pillow's decoder is asked twice instead, for the high and for the low byte of each number. Which name of its
raw modes takes which byte follows from the PNG specification (W3C, third edition): the high one comes first.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_CHANNELS = {2: 3, 4: 2, 6: 4}  # colour type: channels
_MODES = {2: "RGB", 6: "RGBA"}


def is_deep(path: Path) -> bool:
    """Tell whether a PNG file has 16 bits and more than one channel."""
    with open(path, "rb") as stream:
        header = stream.read(26)
    return header[12:16] == b"IHDR" and header[24] == 16 and header[25] in _CHANNELS


def read_deep_png(path: Path) -> NDArray[np.uint16]:
    """Return (H, W, C) uint16 of a PNG that `is_deep`; C is 2 (grey, alpha), 3 or 4 (colour, alpha).

    The checksums are the caller's to verify.

    Raises:
        ValueError: the file is damaged or cut short.
    """
    content = path.read_bytes()
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


def _compressed(content: bytes) -> bytes:
    """Return what the IDAT chunks hold."""
    parts, place = [], 8
    while place + 12 <= len(content):
        size = int.from_bytes(content[place : place + 4])
        if content[place + 4 : place + 8] == b"IDAT":
            parts.append(content[place + 8 : place + 8 + size])
        place += 12 + size
    return b"".join(parts)
