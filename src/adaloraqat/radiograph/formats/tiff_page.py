"""The first page of a TIFF: its tags, read with care, and its samples, which tifffile reads.

tifffile trusts headers: it follows the private tags of many makers, and a tag of the wrong type or length can
cost it any time and memory. So it sees no file, but a header of its own with only the tags that say how the
samples lie, and data that are unpacked already. Without `imagecodecs` it has no LZW, slow PackBits, and
deflate without a limit; so zlib and Pillow's libtiff unpack, and never more than the header lets expect.
"""

import io
import logging
import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, groupby, islice
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.errors import refused_as
from adaloraqat.radiograph.film import MAX_PIXELS
from adaloraqat.radiograph.formats.base import LYING, ORIENTATION, unreadable

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
"""What a page's numbers mean, as far as that is read here."""

PREMULTIPLIED, ALPHA = 1, 2
"""What a sample after the colours may be: opacity, by which the colours are or are not multiplied already."""

Order = Literal["<", ">"]
"""Which byte of a number comes first, as struct and NumPy name it."""

_ORDERS: dict[bytes, Order] = {b"II": "<", b"MM": ">"}
_COREL = 999  # Corel Draw's number for `ALPHA`
_COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4}

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANES, _PREDICTOR, _COLOUR_MAP = 273, 277, 278, 279, 284, 317, 320
_TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES, _EXTRA, _KIND = 322, 323, 324, 325, 338, 339
_SEVERAL = frozenset((_BITS, _STRIPS, _STRIP_BYTES, _COLOUR_MAP, _TILES, _TILE_BYTES, _EXTRA, _KIND))
_DEFAULTS = {_BITS: 1, _COMPRESSION: 1, _PHOTOMETRIC: 0, _FILL_ORDER: 1, ORIENTATION: 1, _SAMPLES: 1}
_DEFAULTS |= {_ROWS: 2**32 - 1, _PLANES: 1, _PREDICTOR: 1, _KIND: 1}
_READ = _SEVERAL | {*_DEFAULTS, _WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH}

_MOST_TAGS = 4096
_MOST_BYTES = 8 << 20  # of all tags together; the smallest tiles of the largest film take six million
_MOST_OF_FILM = 8 * MAX_PIXELS  # bytes of all its samples
_SLACK = 16 << 20  # bytes by which the tiles of a small film may exceed it
_BATCH = 2 << 20  # bytes that libtiff unpacks at once; more is slower, as memory is then new each time
_NUMBERS = dict(zip((1, 3, 4, 6, 8, 9, 13, 16, 17, 18), "BHIbhiIQqQ", strict=True))  # types of whole numbers

_NONE, _LZW, _PACKBITS, _LZMA, _ZSTANDARD, _DEFLATE = 1, 5, 32773, 34925, 50000, (8, 32946)
_BY_LIBTIFF = (_LZW, _PACKBITS, _LZMA, _ZSTANDARD)
_OF_PICTURES = (2, 3, 4, 6, 7, 32771, 32809, 50001)  # fax, JPEG, Thunderscan and WebP
_YCBCR, _LAB = 6, 8
_DIFFERENCES, _OF_FLOATS = 2, 3  # predictors
_UNSIGNED, _SIGNED, _FLOAT, _ANY = 1, 2, 3, 4
_DEPTHS = {_UNSIGNED: (*range(1, 17), 32, 64), _SIGNED: (8, 16, 32, 64), _FLOAT: (16, 32, 64)}
_DEPTHS[_ANY] = _DEPTHS[_UNSIGNED]
_WHOLE = (1, 8, 16, 32, 64)  # depths that tifffile reads; others are packed, and widened before
_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class FirstPage:
    """The tags of a TIFF's first page.

    Attributes:
        path: of the file.
        order: of the bytes of its numbers.
        tags: numbers by tag, of the tags that are read here.
        several: whether other pages follow.
    """

    path: Path
    order: Order
    tags: dict[int, tuple[int, ...]]
    several: bool

    def _one(self, tag: int) -> int:
        return self.tags[tag][0] if tag in self.tags else _DEFAULTS[tag]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) as stored."""
        return self._one(_LENGTH), self._one(_WIDTH)

    @property
    def upright(self) -> tuple[int, int]:
        """(H, W) as shown."""
        return self.size[::-1] if self.orientation in LYING else self.size

    @property
    def orientation(self) -> int:
        """How the picture is turned, as EXIF says it."""
        return self._one(ORIENTATION)

    @property
    def photometric(self) -> int:
        """What the numbers mean: `WHITE_IS_ZERO` and so on, or another."""
        return self._one(_PHOTOMETRIC)

    @property
    def bits(self) -> int:
        """Bits of a sample; 0 where the samples differ in it."""
        bits = self.tags.get(_BITS, (1,))[: self._one(_SAMPLES)]
        return bits[0] if len({*bits}) == 1 else 0

    @property
    def colours(self) -> int:
        """How many of a pixel's samples are its colour; they come first."""
        return _COLOURS[self.photometric]

    @property
    def palette(self) -> NDArray[np.uint16]:
        """(N, 3) colours of 16 bits."""
        return np.array(self.tags[_COLOUR_MAP], np.uint16).reshape(3, -1).T

    @property
    def opacity(self) -> tuple[int, int] | None:
        """Which sample is the opacity, and of which kind (`PREMULTIPLIED`, `ALPHA`); None where none is."""
        if self.photometric == CMYK:
            return None
        extra = self.tags.get(_EXTRA)
        if extra is None:
            missing = self.photometric == RGB and self._one(_SAMPLES) == 4
            extra = (ALPHA,) if missing else ()
        for place, kind in enumerate(extra, self.colours):
            if kind in (PREMULTIPLIED, ALPHA, _COREL) and place < self._one(_SAMPLES):
                return place, PREMULTIPLIED if kind == PREMULTIPLIED else ALPHA
        return None

    @property
    def readable(self) -> bool:
        """Whether `samples` can read it, and it is known here what they mean."""
        compression, predictor, kind = self._one(_COMPRESSION), self._predictor, self._one(_KIND)
        return (
            (compression == _NONE or compression in _DEFLATE or compression in _BY_LIBTIFF)
            and self.bits in _DEPTHS.get(kind, ())
            and len({*self.tags.get(_KIND, (1,))}) == 1
            and (
                predictor == 1
                or (predictor == _DIFFERENCES and self.bits in _WHOLE[1:])
                or (predictor == _OF_FLOATS and kind == _FLOAT)
            )
            and self._one(_PLANES) in (1, 2)
            and self._meant()
        )

    @property
    def for_pillow(self) -> bool:
        """Whether it is of the few other kinds that Pillow may read."""
        compression = self._one(_COMPRESSION)
        if self._one(_PLANES) not in (1, 2):
            return False
        others = self.photometric in (_YCBCR, _LAB) and (compression != _NONE or _TILES not in self.tags)
        return compression in _OF_PICTURES or others

    @property
    def _predictor(self) -> int:
        """Which differences were compressed; 1: the numbers themselves."""
        return 1 if self._one(_COMPRESSION) in (_NONE, _PACKBITS) else self._one(_PREDICTOR)  # as in libtiff

    def _meant(self) -> bool:
        """Return whether it is known what each sample is."""
        photometric, samples = self.photometric, self._one(_SAMPLES)
        if photometric not in _COLOURS:
            return False
        extra = samples - self.colours
        unsigned = self._one(_KIND) in (_UNSIGNED, _ANY) and self.bits <= 16
        if photometric == PALETTE:
            told = extra == 0 or (extra == len(self.tags.get(_EXTRA, ())) == 1 and self.bits == 8)
            return told and unsigned and len(self.tags.get(_COLOUR_MAP, ())) == 3 * 2**self.bits
        if photometric == RGB:
            return 0 <= extra <= 3
        told = extra == 0 or extra == len(self.tags.get(_EXTRA, ())) == 1
        return told and (unsigned or photometric != CMYK)

    def samples(self) -> NDArray[Any]:
        """Return (H, W, S) numbers as they are stored, of a `readable` page.

        Bits are bool, fewer than 8 of them uint8 and fewer than 16 uint16. May raise any exception.
        """
        from tifffile import TiffFile  # only who reads a TIFF waits for it

        (height, width), samples, bits = self.size, self._one(_SAMPLES), self.bits
        if height * width * samples * max(8, bits) // 8 > _MOST_OF_FILM:
            raise ValueError("more than the largest film")
        with (
            silent("tifffile"),
            TiffFile(io.BytesIO(self._plain_header())) as file,
            open(self.path, "rb") as stream,
        ):
            page = file.pages.first
            decode, together = page.decode, page.shaped[-1]
            cuts = [decode(None, index)[1:] for index in range(self._count(page.chunked))]
            shapes = [shape[1:] for _, shape in cuts]  # (rows, columns, samples)
            sizes = [rows * -(-columns * together * bits // 8) for rows, columns, _ in shapes]
            if sum(sizes) > 4 * height * width * samples * max(8, bits) // 8 + _SLACK:
                raise ValueError("tiles much larger than the film")
            values: NDArray[Any] = np.empty(0)
            for index, data in enumerate(self._unpacked(stream, sizes)):
                rows, columns, _ = shapes[index]
                part: Any = decode(self._plain(data, rows, columns * together), index)[0]
                if part.shape == page.shaped[1:] and len(sizes) == 1:
                    return part[0]
                if index == 0:  # now that there are data
                    values = np.empty(page.shaped, page.dtype)
                plane, _, top, left, _ = cuts[index][0]
                room = values[plane, 0, top : top + rows, left : left + columns]
                room[:] = part[0, : room.shape[0], : room.shape[1]]
        return np.moveaxis(values[:, 0, :, :, 0], 0, -1) if together < samples else values[0, 0]

    def _count(self, chunked: Sequence[int]) -> int:
        """Return how many strips or tiles there must be."""
        count, found = math.prod(chunked), len(self._places()[0])
        if found < count:
            raise ValueError("strips or tiles are missing")
        return count

    def _places(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return where each strip or tile begins, and of how many bytes it is told to be."""
        tiled = _TILES in self.tags
        offsets = self.tags.get(_TILES if tiled else _STRIPS, ())
        return offsets, self.tags.get(_TILE_BYTES if tiled else _STRIP_BYTES, ())

    def _plain_header(self) -> bytes:
        """Return a header for tifffile, of data as `_plain` gives them."""
        bits = self.bits if self.bits in _WHOLE else 8 if self.bits < 8 else 16
        tags = {tag: (self._one(tag),) for tag in (_WIDTH, _LENGTH, _PHOTOMETRIC, _SAMPLES, _PLANES, _KIND)}
        predictor = _DIFFERENCES if self._predictor == _DIFFERENCES else 1
        tags |= {_BITS: (bits,), _COMPRESSION: (_NONE,), _PREDICTOR: (predictor,)}
        if _TILES in self.tags:
            tags |= {tag: (self.tags[tag][0],) for tag in (_TILE_WIDTH, _TILE_LENGTH)}
        else:
            tags[_ROWS] = (self._one(_ROWS),)
        return _header(self.order, tags)

    def _plain(self, data: Any, rows: int, numbers: int) -> Any:
        """Return the bytes of `rows` rows of numbers that lie as if nothing were packed or predicted."""
        if self.bits not in _WHOLE:
            return _widened(data, self.bits, rows, numbers, self.order)
        if self._predictor == _OF_FLOATS:
            together = self._one(_SAMPLES) if self._one(_PLANES) == 1 else 1
            return _summed(data, self.bits // 8, rows, together, self.order)
        return data

    def _unpacked(self, stream: IO[bytes], sizes: Sequence[int]) -> Iterator[Any]:
        """Yield each strip or tile: exactly so many bytes."""
        compression = self._one(_COMPRESSION)
        if compression in _BY_LIBTIFF:
            yield from self._by_libtiff(stream, sizes)
            return
        for index, size in enumerate(sizes):
            data = self._stored(stream, index, size)
            if compression in _DEFLATE:
                data = zlib.decompressobj().decompress(data, size)
            if len(data) < size:
                raise ValueError("truncated")
            yield data

    def _by_libtiff(self, stream: IO[bytes], sizes: Sequence[int]) -> Iterator[Any]:
        """Yield each strip or tile, unpacked by libtiff, many at once."""
        for size, group in groupby(range(len(sizes)), sizes.__getitem__):
            while batch := [self._stored(stream, index, size) for index in islice(group, 1 + _BATCH // size)]:
                yield from _by_libtiff(self._one(_COMPRESSION), batch, size)

    def _stored(self, stream: IO[bytes], index: int, size: int) -> bytes:
        """Return the bytes of one strip or tile as they are in the file, of which `size` will be made."""
        offsets, counts = self._places()
        left = stream.seek(0, io.SEEK_END) - offsets[index]
        count = size
        if self._one(_COMPRESSION) != _NONE:  # else the size is sure, and what is told often wrong
            told = counts[index] if index < len(counts) else 0
            count = min(told or left, left, 2 * size + 4096)
        if offsets[index] == 0 or not 0 < count <= left:
            raise ValueError("truncated")
        stream.seek(offsets[index])
        data = stream.read(count)
        return data.translate(_TURNED) if self._one(_FILL_ORDER) == 2 else data


def first_page(path: Path) -> FirstPage:
    """Return the tags of a TIFF's first page.

    Raises:
        FilmError: they are damaged; left to guess would be how many bits a number has, for example.
    """
    with refused_as(unreadable(path)), open(path, "rb") as stream:
        page = FirstPage(path, *_read_tags(stream))
        if min(page.size) < 1:
            raise ValueError("no size")
        return page


def _read_tags(stream: IO[bytes]) -> tuple[Order, dict[int, tuple[int, ...]], bool]:
    """Return the byte order, the tags read here of the first page, and whether another page follows."""
    head = stream.read(16)
    order = _ORDERS[head[:2]]
    big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    number, entry, place = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")

    def read(form: str, count: int = 1) -> bytes:
        return stream.read(count * struct.calcsize(order + form))

    stream.seek(struct.unpack_from(order + place, head, 8 if big else 4)[0])
    (count,) = struct.unpack(order + number, read(number))
    if count > _MOST_TAGS:
        raise ValueError("too many tags")
    entries, after = read(entry, count), read(place)
    if len(entries) < count * struct.calcsize(order + entry):
        raise ValueError("tags are missing")
    tags: dict[int, tuple[int, ...]] = {}
    left = _MOST_BYTES
    for tag, kind, count, value in struct.iter_unpack(order + entry, entries):
        if tag not in _READ or tag in tags or count == 0:
            continue
        form = f"{order}{count if tag in _SEVERAL else 1}{_NUMBERS[kind]}"
        left -= struct.calcsize(form)
        if left < 0:
            raise ValueError("more tags than a film needs")
        if count * struct.calcsize(_NUMBERS[kind]) > len(value):
            stream.seek(struct.unpack(order + place, value)[0])
            value = stream.read(struct.calcsize(form))
        tags[tag] = struct.unpack_from(form, value)
        if min(tags[tag]) < 0:
            raise ValueError("a negative number")
    following = struct.unpack_from(order + place, after.ljust(8, b"\0"))[0]
    return order, tags, 0 < following < stream.seek(0, io.SEEK_END)


def _header(order: Order, tags: Mapping[int, Sequence[int]]) -> bytes:
    """Return a TIFF's header with these tags."""
    entries, rest = b"", b""
    end = 8 + 2 + 12 * len(tags) + 4
    for tag, numbers in sorted(tags.items()):
        data = struct.pack(f"{order}{len(numbers)}I", *numbers)
        place = data if len(numbers) == 1 else struct.pack(f"{order}I", end + len(rest))
        rest += data if len(numbers) > 1 else b""
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + place
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HIH", 42, 8, len(tags)) + entries + bytes(4) + rest


def _by_libtiff(compression: int, parts: Sequence[bytes], size: int) -> NDArray[np.uint8]:
    """Return (N, size) bytes of N compressed parts, as libtiff finds them in the rows of a picture."""
    bands = 4 if size % 4 == 0 else 1  # Pillow limits how many pixels a picture has, not how many bytes
    rows = len(parts)
    tags: dict[int, tuple[int, ...]]
    tags = {_WIDTH: (size // bands,), _LENGTH: (rows,), _ROWS: (1,), _COMPRESSION: (compression,)}
    tags |= {_BITS: bands * (8,), _SAMPLES: (bands,), _PHOTOMETRIC: (CMYK if bands == 4 else BLACK_IS_ZERO,)}
    tags |= {_STRIPS: rows * (0,), _STRIP_BYTES: tuple(len(part) for part in parts)}
    ends = accumulate((len(part) for part in parts), initial=len(_header("<", tags)))
    content = _header("<", tags | {_STRIPS: tuple(ends)[:rows]}) + b"".join(parts)
    with Image.open(io.BytesIO(content), formats=("TIFF",)) as image:
        return np.asarray(image).reshape(rows, size)


def _widened(data: bytes, bits: int, rows: int, numbers: int, order: Order) -> bytes:
    """Return packed numbers as ones of 8 or 16 bits; every row begins with a byte of its own."""
    wide = 8 if bits < 8 else 16
    values = np.empty((rows, numbers), "u1" if wide == 8 else ">u2")
    for row, line in enumerate(np.frombuffer(data, np.uint8).reshape(rows, -1)):  # one by one: bits take room
        room = np.zeros((numbers, wide), np.uint8)
        room[:, wide - bits :] = np.unpackbits(line)[: numbers * bits].reshape(numbers, bits)
        values[row] = np.packbits(room).view(values.dtype)
    return values.astype(values.dtype.newbyteorder(order)).tobytes()


def _summed(data: bytes, size: int, rows: int, together: int, order: Order) -> bytes:
    """Return floats of the predictor that takes differences of their bytes, the highest of a row first."""
    lines = np.frombuffer(data, np.uint8).reshape(rows, -1, together).cumsum(axis=1, dtype=np.uint8)
    floats = lines.reshape(rows, size, -1).swapaxes(1, 2)
    return (floats if order == ">" else floats[..., ::-1]).tobytes()


@contextmanager
def silent(name: str) -> Iterator[None]:
    """Keep a library from logging within; as `base.quiet`, for one thread at a time."""
    logger = logging.getLogger(name)
    disabled = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = disabled
