"""TIFF files that are damaged, or lie: refused in one sentence, and before they take time or memory."""

import random
import struct
import tracemalloc
import zlib
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tiff_writer import (
    DEFLATE,
    HEIGHT,
    LAYOUTS,
    LZW,
    PACKBITS,
    PACKINGS,
    PALETTE,
    RAW,
    RGB,
    WIDTH,
    headed,
    lzw,
    noise,
    tiff,
)

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import read_film


@pytest.mark.parametrize("compression", PACKINGS)
def test_a_tiff_that_ends_early_is_refused(tmp_path: Path, compression: int) -> None:
    values = noise(12)
    for layout in LAYOUTS:
        path = tiff(tmp_path / "film.tif", values, compression=compression, **layout)
        content = path.read_bytes()
        for cut in range(5, len(content), len(content) // 23):  # at four the pointer to a next page begins
            path.write_bytes(content[:-cut])
            with pytest.raises(FilmError, match=r"film\.tif"):
                read_film(path)
        tags = {279 if "tile" not in layout else 325: [9] * 100}  # of each strip or tile only nine bytes
        if compression != RAW:
            tiff(path, values, compression=compression, tags=tags, **layout)
            with pytest.raises(FilmError, match="damaged or truncated"):
                read_film(path)


def test_what_is_told_of_raw_bytes_does_not_matter(tmp_path: Path) -> None:
    values = noise(12)
    for told in ([1], [2**31], [1, 2, 3]):
        assert read_film(tiff(tmp_path / "film.tif", values, tags={279: told})).shape == (HEIGHT, WIDTH)
    path = tiff(tmp_path / "film.tif", values, compression=LZW, tags={279: [0]})
    assert read_film(path).pixels == pytest.approx(values / 4095, abs=1e-6)


@pytest.mark.parametrize(
    "tags",
    [
        {256: [100_000], 257: [100_000]},
        {256: [2**31], 257: [2**31]},
        {256: [100_000], 257: [100_000], 322: [100_000], 323: [100_000], 324: [16], 325: [100]},
        {322: [2**30], 323: [2**30], 324: [16], 325: [100]},
        {322: [1], 323: [1], 324: [16], 325: [100]},
        {277: [60_000], 258: [16]},
        {278: [0]},
        {278: [1]},
        {322: [0], 323: [16], 324: [16]},
        {273: [0]},
        {273: [2**32 - 1]},
        {279: [2**32 - 1], 273: [2**32 - 1]},
    ],
)
def test_a_header_that_lies_takes_no_memory(tmp_path: Path, tags: dict, capfd: pytest.CaptureFixture) -> None:
    for compression, big in product(PACKINGS, (False, True)):
        path = tiff(tmp_path / "film.tif", noise(12), compression=compression, big=big, tags=tags)
        read_film(tiff(tmp_path / "whole.tif", noise(12)))  # what is imported at the first is not counted
        tracemalloc.start()
        with pytest.raises(FilmError, match=r"film\.tif"):
            read_film(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40e6, (tags, compression)
    assert "Traceback" not in capfd.readouterr().err


def test_a_tag_of_the_wrong_type_or_length_is_refused(tmp_path: Path) -> None:
    content = tiff(tmp_path / "film.tif", noise(12)).read_bytes()
    for tag, kind, count in (
        *(
            (tag, kind, count)
            for tag in (273, 258, 339)
            for kind in (4, 12, 99)
            for count in (2**31, 2**32 - 1)
        ),
        (257, 2, 4),  # a length that is text
        (257, 2, 2**31),
        (257, 5, 1),
    ):
        at = content.rindex(struct.pack("<HHI", tag, 4, 1))
        damaged = content[:at] + struct.pack("<HHI", tag, kind, count) + content[at + 8 :]
        with pytest.raises(FilmError):
            read_film(damaged)


@pytest.mark.parametrize("compression", [DEFLATE, LZW, PACKBITS])
def test_no_more_is_unpacked_than_the_header_says(tmp_path: Path, compression: int) -> None:
    """Fifty megabytes of zeros, of which the film is the first few."""
    values = np.zeros((HEIGHT, WIDTH), "u2")
    bomb = {
        DEFLATE: zlib.compress(bytes(50_000_000)),
        PACKBITS: b"\x81\0" * 400_000,
        LZW: lzw(bytes(60_000)),
    }[compression]
    tags = {256: [WIDTH], 257: [HEIGHT], 258: [16], 259: [compression], 262: [1], 273: [16], 277: [1]}
    tags |= {278: [HEIGHT], 279: [len(bomb)]}
    path = tmp_path / "bomb.tif"
    path.write_bytes(headed(bomb, tags, "<", False, 0))
    read_film(path)
    tracemalloc.start()
    assert np.array_equal(read_film(path).pixels, values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def seeds(folder: Path) -> list[bytes]:
    """One TIFF of each kind."""
    kinds = [
        (noise(12), {"bits": 12}),
        (noise(12), {"turned_bits": True}),
        (noise(1, dtype="u1"), {"bits": 1}),
    ]
    kinds += [(noise(12), layout) for layout in LAYOUTS]
    kinds += [(noise(12, 3), {"photometric": RGB, "separate": separate}) for separate in (False, True)]
    kinds += [(noise(8, 4, dtype="u1"), {"photometric": RGB, "extra": [2]})]
    kinds += [(noise(4, dtype="u1"), {"bits": 4, "photometric": PALETTE, "tags": {320: [*range(48)]}})]
    kinds += [(noise(9, dtype="f4"), {"predictor": 3, "compression": LZW})]
    every = product(kinds, PACKINGS, "<>", (False, True))
    return [
        tiff(
            folder / "seed.tif", pixels, **{"compression": packing, **options}, order=order, big=big
        ).read_bytes()
        for (pixels, options), packing, order, big in every
    ]


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Change the header, mostly its tags, and sometimes the data or the length."""
    changed, order = bytearray(content), "<" if content[:2] == b"II" else ">"
    big = content[2:4] in (b"+\0", b"\0+")
    tags = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)[0]
    for _ in range(draw.choice((1, 1, 2, 3, 6, 20))):
        first, last = draw.choice(((0, 16), *4 * ((tags, min(tags + 400, len(content))),), (0, len(content))))
        at = draw.randrange(first, last)
        extreme = draw.choice(
            (b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\xff" * 8, b"\0\1")
        )
        new = draw.choice((bytes([draw.randrange(256)]), extreme, draw.randbytes(draw.randrange(1, 12))))
        changed[at : at + len(new)] = new
    return bytes(changed[: draw.randrange(len(changed)) if draw.random() < 0.1 else None])


@pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.slow)])
def test_damaged_headers_are_refused_and_take_little(tmp_path: Path, count: int) -> None:
    draw, whole = random.Random(count), seeds(tmp_path)
    read_film(whole[0])
    outcomes: Counter[str] = Counter()
    tracemalloc.start()
    for _ in range(count):
        try:
            film = read_film(mutated(draw.choice(whole), draw))
            assert np.isfinite(film.pixels).all()
            outcomes["read"] += 1
        except FilmError as error:
            outcomes["header" if "header" in str(error) else "later"] += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6, outcomes
    assert outcomes["read"] + outcomes["later"] > count / 4, outcomes  # past the header
