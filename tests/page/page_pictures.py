"""Phantom films in every kind of file that the page reads: each function writes one and returns nothing."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.datasets.phantom import draw_phantom
from adaloraqat.radiograph import write_png

SIDE = 300


def grey(seed: int, side: int = SIDE) -> NDArray[np.float32]:
    """Return a phantom (side, side - 20) in [0, 1]: not square, and no multiple of the model's side."""
    pixels = draw_phantom(seed, side).pixels[:, 10:-10]
    return np.ascontiguousarray(pixels, np.float32)


def of_bits(pixels: NDArray[np.float32], bits: int) -> NDArray[np.uint16]:
    """Return whole numbers of `bits` bits."""
    return np.rint(pixels * (2**bits - 1)).astype(np.uint16)


def eight(seed: int) -> NDArray[np.uint8]:
    return of_bits(grey(seed), 8).astype(np.uint8)


def tinted(values: NDArray[np.uint8 | np.uint16]) -> NDArray[np.uint8 | np.uint16]:
    """Return (H, W, 3): the grey with a little less blue and red, so that the weights of the colours show."""
    return np.stack([values - values // 9, values, values - values // 5], axis=2)


def _alpha(shape: tuple[int, int], most: int) -> NDArray[np.uint16]:
    """Return an alpha that falls off at the edges."""
    rows, columns = (np.minimum(1, 8 * np.hanning(size)) for size in shape)
    return np.rint(np.outer(rows, columns) * most).astype(np.uint16)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_deep_png(path: Path, values: NDArray[np.uint16], interlaced: bool = False) -> None:
    """Write (H, W, C) of 16 bits, which Pillow does not; C is 1 to 4, filters change from row to row."""
    height, width, channels = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">2I5B", width, height, 16, colour, 0, 0, int(interlaced))
    steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    passes = steps if interlaced else [(0, 0, 1, 1)]
    raw = b"".join(_filtered(values[y::down, x::across], 2 * channels) for x, y, across, down in passes)
    content = _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(raw)) + _chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def _filtered(values: NDArray[np.uint16], reach: int) -> bytes:
    """Return the rows of a pass with filters 0, 1 and 2 in turn."""
    lines = values.astype(">u2").reshape(len(values), -1).view(np.uint8)
    out = []
    for number, line in enumerate(lines):
        kind = number % 3
        before = np.zeros_like(line)
        if kind == 1:
            before[reach:] = line[:-reach]
        elif kind == 2 and number:
            before = lines[number - 1]
        out.append(bytes([kind]) + (line - before).tobytes())
    return b"".join(out)


def _png_8(path: Path) -> None:
    write_png(path, eight(1))


def _png_16(path: Path) -> None:
    write_png(path, of_bits(grey(2), 14))


def _png_palette(path: Path) -> None:
    image = Image.fromarray(eight(3)).convert("P")
    image.putpalette([value for level in range(256) for value in (level, level * 9 // 10, level * 8 // 10)])
    image.save(path, transparency=bytes(range(255, -1, -1)))


def _png_four_bits(path: Path) -> None:
    image = Image.fromarray((eight(4) // 16).astype(np.uint8)).convert("P")
    image.putpalette([value for level in range(16) for value in (level * 17,) * 3])
    image.save(path, bits=4)


def _png_colour(path: Path) -> None:
    Image.fromarray(tinted(eight(5))).save(path)


def _png_alpha(path: Path) -> None:
    values = eight(6)
    Image.fromarray(np.dstack([tinted(values), _alpha(values.shape, 255).astype(np.uint8)])).save(path)


def _png_deep_colour(path: Path) -> None:
    write_deep_png(path, tinted(of_bits(grey(7), 16)))


def _png_deep_alpha(path: Path) -> None:
    values = of_bits(grey(8), 16)
    write_deep_png(path, np.dstack([values, _alpha(values.shape, 65535)]), interlaced=True)


def _jpeg_turned(path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees when it was taken
    Image.fromarray(np.ascontiguousarray(np.rot90(eight(9)))).save(path, quality=90, exif=exif)


def _jpeg_colour(path: Path) -> None:
    Image.fromarray(tinted(eight(10))).save(path, quality=85, progressive=True)


PICTURES: dict[str, Callable[[Path], None]] = {
    "grey-8.png": _png_8,
    "grey-16.png": _png_16,
    "palette-transparent.png": _png_palette,
    "palette-4-bits.png": _png_four_bits,
    "colour.png": _png_colour,
    "colour-alpha.png": _png_alpha,
    "colour-16.png": _png_deep_colour,
    "grey-alpha-16-interlaced.png": _png_deep_alpha,
    "turned.jpg": _jpeg_turned,
    "colour-progressive.jpg": _jpeg_colour,
}
