"""TIFF files written bit by bit, so that no reader's own idea of the format decides what is right."""

import struct
import zlib
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np

RAW, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
HEIGHT, WIDTH = 21, 35


def bits_of(codes: Sequence[int], bits: int) -> bytes:
    """Numbers of so many bits each, the highest first, filled up with zeros to whole bytes."""
    text = "".join(f"{code:0{bits}b}" for code in codes)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def lzw(data: bytes) -> bytes:
    """LZW without compression: the table is cleared before its codes need more than 9 bits."""
    codes = [code for at in range(0, len(data), 200) for code in (256, *data[at : at + 200])]
    return bits_of([*codes, 257], 9)


def packbits(data: bytes) -> bytes:
    """Runs of two where there are some, else bytes as they are."""
    out, at = b"", 0
    while at < len(data):
        twice = data[at : at + 2] == data[at : at + 1] * 2
        out += bytes([255, data[at]]) if twice else bytes([0, data[at]])
        at += 2 if twice else 1
    return out


COMPRESSED: dict[int, Callable[[bytes], bytes]] = {
    RAW: bytes,
    LZW: lzw,
    DEFLATE: zlib.compress,
    PACKBITS: packbits,
}


def differences(part: np.ndarray, predictor: int, order: str) -> np.ndarray | bytes:
    """What a predictor leaves of (rows, columns, samples) numbers; bytes of it for predictor 3."""
    if predictor == 2:
        left = np.zeros_like(part)
        left[:, 1:] = part[:, :-1]
        return (part - left).astype(part.dtype)
    lines = []
    for row in part:
        ordered = row.astype(row.dtype.newbyteorder(">")).reshape(-1).view(np.uint8)
        line = ordered.reshape(row.size, row.itemsize).T.reshape(-1).astype(int)
        line[row.shape[1] :] -= line[: -row.shape[1]].copy()
        lines.append((line % 256).astype(np.uint8).tobytes())
    return b"".join(lines)


def tiff(
    path: Path,
    pixels: np.ndarray,
    *,
    order: str = "<",
    big: bool = False,
    photometric: int = BLACK_IS_ZERO,
    bits: int | None = None,
    compression: int = RAW,
    predictor: int = 1,
    separate: bool = False,
    rows: int | None = None,
    tile: tuple[int, int] | None = None,
    turned_bits: bool = False,
    extra: Sequence[int] | None = None,
    following: int = 0,
    tags: dict[int, Sequence[int]] | None = None,
    cut: int = 0,
) -> Path:
    """Write (H, W) or (H, W, S) `pixels` as TIFF 6.0 says; `cut` bytes are left out at the end."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    height, width, samples = pixels.shape
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    depth = bits or 8 * pixels.itemsize
    parts = []
    for plane in [pixels[..., [i]] for i in range(samples)] if separate else [pixels]:
        if tile:
            padded = np.zeros(
                (-(-height // tile[0]) * tile[0], -(-width // tile[1]) * tile[1], plane.shape[2])
            )
            padded = padded.astype(plane.dtype)
            padded[:height, :width] = plane
            for y, x in product(range(0, height, tile[0]), range(0, width, tile[1])):
                parts.append(padded[y : y + tile[0], x : x + tile[1]])
        else:
            parts += [plane[y : y + (rows or height)] for y in range(0, height, rows or height)]
    stored = []
    for part in parts:
        coded = part if predictor == 1 else differences(part, predictor, order)
        if isinstance(coded, bytes):
            data = coded
        elif depth % 8:
            data = b"".join(bits_of(row.reshape(-1).tolist(), depth) for row in coded)
        else:
            data = coded.astype(coded.dtype.newbyteorder(order)).tobytes()
        data = COMPRESSED[compression](data)
        stored.append(bytes(int(f"{byte:08b}"[::-1], 2) for byte in data) if turned_bits else data)
    at, offsets = 16, []
    for data in stored:
        offsets.append(at)
        at += len(data)
    entries: dict[int, Sequence[int]] = {256: [width], 257: [height], 258: [depth] * samples}
    entries |= {259: [compression], 262: [photometric], 266: [2 if turned_bits else 1], 277: [samples]}
    entries |= {284: [2 if separate else 1], 317: [predictor], 339: [kind] * samples}
    counts = [len(data) for data in stored]
    if tile:
        entries |= {322: [tile[1]], 323: [tile[0]], 324: offsets, 325: counts}
    else:
        entries |= {273: offsets, 278: [rows or height], 279: counts}
    if extra is not None:
        entries[338] = extra
    path.write_bytes(headed(b"".join(stored), entries | (tags or {}), order, big, following)[: -cut or None])
    return path


def headed(data: bytes, tags: dict[int, Sequence[int]], order: str, big: bool, following: int) -> bytes:
    """A TIFF whose data begin at byte 16 and whose tags follow; every number has 32 bits, or 64 if `big`."""
    number = "Q" if big else "I"
    start = 16 + len(data)
    rest_at = start + (8 + 20 * len(tags) + 8 if big else 2 + 12 * len(tags) + 4)
    entries, rest = b"", b""
    for tag, numbers in sorted(tags.items()):
        value = struct.pack(f"{order}{len(numbers)}{number}", *numbers)
        if len(numbers) > 1:
            place = struct.pack(order + number, rest_at + len(rest))
            rest += value
        else:
            place = value
        entries += struct.pack(f"{order}HH{number}", tag, 16 if big else 4, len(numbers)) + place
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(f"{order}HHHQ", 43, 8, 0, start) if big else struct.pack(f"{order}HI", 42, start)
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    return (
        (mark + head).ljust(16, b"\0")
        + data
        + count
        + entries
        + struct.pack(order + number, following)
        + rest
    )


def noise(bits: int, *samples: int, dtype: str = "u2") -> np.ndarray:
    values = np.random.default_rng(bits).integers(0, 2**bits, (HEIGHT, WIDTH, *samples), dtype=np.uint64)
    values[0, 0], values[0, 1] = 0, 2**bits - 1  # so that the range is known
    return values.astype(dtype)


LAYOUTS = [{}, {"rows": 4}, {"tile": (16, 16)}]
PACKINGS = [RAW, LZW, DEFLATE, PACKBITS]
