"""JPEG: the format of pictures, what its bytes say of size and form, and whether they were truncated.

Decoders fill what is missing with a flat grey and report success, as long as an end marker stands somewhere.
A film with a flat lower border looks the same, so the question is put to the decoder: bytes laid before the
end marker change the picture only where the decoder was still waiting for data.
"""

import io
import random
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.formats.base import Picture

_START_OF_SCAN, _PROGRESSIVE, _LOSSLESS = 0xDA, 0xC2, 0xC3
_SEQUENTIAL = (0xC0, 0xC1)
_TAILS = ((6, 4), (32, 2))  # bytes at the end of the data that are changed, and how often
_JPEG_LS = 0xF7  # what follows this start of frame is laid out as in the others
END = b"\xff\xd9"
"""The marker that ends a JPEG and a JPEG-LS stream."""

JPEG_2000_START = b"\xff\x4f\xff\x51"
"""What a JPEG 2000 stream begins with, also inside a JP2 file."""

_JP2 = b"\0\0\0\x0cjP  "
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # ends a scan; stuffed zeros and restarts do not
_NOISE = random.Random(0).randbytes(1024).replace(b"\xff", b"\xfe")  # 0xFF would begin a marker
_PROBE = _NOISE + b"".join(bytes((0xFF, 0xD0 + turn % 8)) + _NOISE for turn in range(16))  # and restarts


class Jpeg(Picture):
    """JPEG; also MPO, a JPEG that others follow in the file."""

    suffixes = frozenset({".jpg", ".jpeg"})
    marks = (b"\xff\xd8",)
    pillow = ("JPEG", "MPO")

    def _loaded(self, path: Path, image: Image.Image, notices: list[str]) -> Image.Image:
        picture = super()._loaded(path, image, notices)
        data, pixels = path.read_bytes(), np.asarray(image)
        if ends_early(data, pixels, decode):
            raise FilmError(f"{path.name} is truncated: part of the film is missing; copy it again.")
        if ends_late(data, pixels):
            raise FilmError(f"{path.name} is damaged: part of the film is wrong; copy it again.")
        return picture


def decode(data: bytes) -> NDArray[Any]:
    """Return the pixels of a JPEG, (H, W) or (H, W, C); raises any exception."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return np.asarray(image)


def ends_early(
    data: bytes, pixels: NDArray[np.generic], decode: Callable[[bytes], NDArray[np.generic]]
) -> bool:
    """Return whether a JPEG ends before its last block.

    Only a picture whose last block is flat can have been filled up, and only such a one is decoded again; of
    a progressive JPEG the lower part may be blurred instead, so that it always is.

    Args:
        data: the JPEG.
        pixels: (H, W) or (H, W, C) as `decode` gives them of `data`.
        decode: decodes a JPEG; may raise.
    """
    kind, end, _ = _scan(data)
    probe = _NOISE if kind == _LOSSLESS else _PROBE  # lossless decoders stop at a restart they did not expect
    if kind == _PROGRESSIVE:
        end = _end_marker(data, end)
    else:
        last = pixels[-((pixels.shape[0] - 1) % 8 + 1) :, -((pixels.shape[1] - 1) % 8 + 1) :]
        if not (last == last[0, 0]).all():
            return False
    return end > 0 and not np.array_equal(decode(data[:end] + probe + data[end:]), pixels)


def ends_late(data: bytes, pixels: NDArray[np.generic]) -> bool:
    """Return whether a JPEG has its last block before its data end, as it has where some of them are damaged.

    Noise among the data is decoded to more or fewer blocks than were there, and what follows is displaced.
    Where they are too few, `ends_early` finds it; where too many, the decoder never gets to the last bytes.

    Args:
        data: the JPEG; of a progressive one, and one with restarts, this does not tell enough.
        pixels: (H, W) or (H, W, C) as `decode` gives them of `data`.
    """
    kind, end, start = _scan(data)
    if kind not in _SEQUENTIAL or end < 0:
        return False
    last = len(data[:end].rstrip(b"\0\xff"))  # what some encoders fill up with
    # The last may tell nothing: of what lies outside the picture, in a border as grey as what is missing.
    return all(_tells_nothing(data, pixels, start, last, tail, times) for tail, times in _TAILS)


def _tells_nothing(
    data: bytes, pixels: NDArray[np.generic], start: int, last: int, tail: int, times: int
) -> bool:
    """Return whether other bytes in place of the `tail` before `last` leave the picture as it is."""
    first = last - tail
    if first < start:
        return False
    if data[first - 1] == 0xFF:  # what follows it belongs to it
        first -= 1
    others = (_NOISE[at : at + last - first] for at in range(0, times * tail, tail))
    return all(np.array_equal(decode(data[:first] + other + data[last:]), pixels) for other in others)


def frame_size(data: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) that a JPEG, JPEG-LS or JPEG 2000 says it has; None where it does not say so."""
    if data.startswith((JPEG_2000_START, _JP2)):
        start = data.find(JPEG_2000_START)
        right, bottom, left, top = struct.unpack_from(">4I", data.ljust(start + 24, b"\0"), start + 8)
        return (bottom - top, right - left) if start >= 0 else None
    for kind, place in _segments(data):
        if _is_frame(kind) or kind == _JPEG_LS:
            rows, columns = struct.unpack_from(">2H", data.ljust(place + 7, b"\0"), place + 3)
            return (rows, columns) if rows else None  # 0: told after the first scan
    return None


def _scan(data: bytes) -> tuple[int, int, int]:
    """Return the kind of frame (C0 to CF), and where the first scan's data end and begin; -1: not there."""
    frame = -1
    for kind, place in _segments(data):
        if _is_frame(kind):
            frame = kind
        if kind == _START_OF_SCAN:
            start = place + _length(data, place)
            found = _MARKER.search(data, start)
            return frame, found.start() if found else -1, start
    return frame, -1, -1


def _is_frame(kind: int) -> bool:
    return kind & 0xF0 == 0xC0 and kind not in (0xC4, 0xC8, 0xCC)


def _end_marker(data: bytes, place: int) -> int:
    """Return where the end marker stands that the scans from the end of the first one lead to.

    Other pictures may follow it in the file. Where nothing leads to one, it is the last that there is.
    """
    while place >= 0 and (found := _MARKER.search(data, place)):
        if data[found.end() - 2 : found.end()] == END:
            return found.end() - 2
        place = found.end() + _length(data, found.end())
    return data.rfind(END)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker of each segment up to the first scan's, and where its length stands."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        kind = data[place + 1]
        if kind in _ALONE or kind == 0xFF:
            place += 1 if kind == 0xFF else 2
            continue
        yield kind, place + 2
        if kind == _START_OF_SCAN:
            return
        place += 2 + _length(data, place + 2)


def _length(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 2])
