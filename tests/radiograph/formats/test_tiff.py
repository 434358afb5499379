"""What is read of TIFF files of every kind, all written here by other means than those that read them."""

import io
import logging
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiff_writer import (
    BLACK_IS_ZERO,
    CMYK,
    DEFLATE,
    HEIGHT,
    LAYOUTS,
    LZW,
    PACKBITS,
    PACKINGS,
    PALETTE,
    RAW,
    RGB,
    WHITE_IS_ZERO,
    WIDTH,
    noise,
    tiff,
)

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import read_film
from adaloraqat.radiograph.formats import open_picture, picture_size, read_header
from adaloraqat.radiograph.masks import read_labels, read_mask


def luma(colours: np.ndarray) -> np.ndarray:
    return 0.299 * colours[..., 0] + 0.587 * colours[..., 1] + 0.114 * colours[..., 2]


def stretched(values: np.ndarray) -> np.ndarray:
    values = values.astype(float)
    return (values - values.min()) / np.ptp(values)


@pytest.mark.parametrize("compression", PACKINGS)
@pytest.mark.parametrize("dtype", ["i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_numbers_of_every_type_keep_their_order(tmp_path: Path, dtype: str, compression: int) -> None:
    whole = noise(7, dtype="i4") - (60 if dtype[0] != "u" else 0)
    values = (whole * 0.5 if dtype[0] == "f" else whole).astype(dtype)
    for order, big, layout in product("<>", (False, True), LAYOUTS):
        path = tiff(tmp_path / "f.tif", values, order=order, big=big, compression=compression, **layout)
        assert read_header(path).shape == (HEIGHT, WIDTH)
        assert read_film(path).pixels == pytest.approx(stretched(whole), abs=1e-6)


@pytest.mark.parametrize("compression", PACKINGS)
@pytest.mark.parametrize("separate", [False, True])
def test_colours_of_16_bits_are_read_in_full(tmp_path: Path, separate: bool, compression: int) -> None:
    """A 12-bit film, of which the upper 8 bits would keep 16 grey levels."""
    colours = noise(12, 3)
    for order, layout in product("<>", LAYOUTS):
        options = {"order": order, "compression": compression, **layout}
        path = tiff(tmp_path / "film.tif", colours, photometric=RGB, separate=separate, **options)
        film = read_film(path)
        assert film.pixels == pytest.approx(stretched(luma(colours)), abs=1e-5)
        assert film.notices == ()


def test_colours_of_8_bits_are_read_in_separate_planes_and_tiles(tmp_path: Path) -> None:
    colours = noise(8, 3, dtype="u1")
    for separate, layout, compression in product((False, True), LAYOUTS, PACKINGS):
        options = {"photometric": RGB, "separate": separate, "compression": compression, **layout}
        path = tiff(tmp_path / "film.tif", colours, **options)
        picture, _ = open_picture(path)
        assert picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), colours)
        assert np.abs(read_film(path).pixels - luma(colours) / 255).max() < 0.003


@pytest.mark.parametrize("bits", [*range(1, 17)])
def test_numbers_of_any_depth_are_read_whichever_end_is_white(tmp_path: Path, bits: int) -> None:
    values = noise(bits, dtype="u1" if bits <= 8 else "u2")
    wanted = values / (2**bits - 1)
    wanted = np.rint(wanted * 255) / 255 if bits < 8 else wanted
    for order, compression, layout in product("<>", PACKINGS, LAYOUTS):
        options = {"bits": bits, "order": order, "compression": compression, **layout}
        for photometric, grey in ((BLACK_IS_ZERO, wanted), (WHITE_IS_ZERO, 1 - wanted)):
            film = read_film(tiff(tmp_path / "film.tif", values, photometric=photometric, **options))
            assert film.pixels == pytest.approx(grey, abs=1e-6)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "u4", "i8", "f4", "f8"])
def test_white_is_zero_of_other_numbers(tmp_path: Path, dtype: str) -> None:
    low, high = (0, 2**32 - 1) if dtype == "u4" else (-(2**7), 2**7 - 1)
    low, high = (-(2**31), 2**31 - 1) if dtype == "i4" else (low, high)
    values = np.linspace(low, high, HEIGHT * WIDTH).round().reshape(HEIGHT, WIDTH).astype(dtype)
    film = read_film(tiff(tmp_path / "film.tif", values, photometric=WHITE_IS_ZERO))
    assert film.pixels == pytest.approx(1 - stretched(values), abs=1e-6)


@pytest.mark.parametrize("compression", [LZW, DEFLATE])
def test_predictors_are_undone(tmp_path: Path, compression: int) -> None:
    for order, layout, samples in product("<>", LAYOUTS, (1, 3)):
        options = {"order": order, "compression": compression, **layout}
        options["photometric"] = RGB if samples == 3 else BLACK_IS_ZERO
        for predictor, dtype, separate in (
            (2, "u1", False),
            (2, "u2", False),
            (2, "u2", samples == 3),
            (2, "u4", False),
            (3, "f4", False),
            (3, "f4", samples == 3),
            (3, "f8", False),
        ):
            values = noise(8, samples, dtype=dtype) * (1.5 if dtype[0] == "f" else 1)
            values = values.astype(dtype)
            path = tiff(tmp_path / "f.tif", values, predictor=predictor, separate=separate, **options)
            grey = luma(values) if samples == 3 else values[..., 0]
            wanted = np.rint(grey) / 255 if dtype == "u1" else stretched(grey)
            assert np.abs(read_film(path).pixels - wanted).max() < (0.004 if dtype == "u1" else 1e-5)


def test_a_predictor_of_what_is_not_compressed_counts_for_nothing(tmp_path: Path) -> None:
    """So reads libtiff: it knows predictors in LZW, deflate and their like alone."""
    values = noise(12)
    for compression in (RAW, PACKBITS):
        path = tiff(tmp_path / "film.tif", values, compression=compression, tags={317: [2]})
        assert read_film(path).pixels == pytest.approx(stretched(values), abs=1e-6)


@pytest.mark.parametrize("compression", PACKINGS)
def test_bits_in_reverse_order_are_turned(tmp_path: Path, compression: int) -> None:
    for bits in (1, 4, 8, 12, 16):
        values = noise(bits, dtype="u1" if bits <= 8 else "u2")
        path = tiff(tmp_path / "f.tif", values, bits=bits, turned_bits=True, compression=compression, rows=6)
        assert read_film(path).pixels == pytest.approx(stretched(values), abs=0.01 if bits < 8 else 1e-6)


TURNS = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("turn", TURNS)
def test_every_kind_of_picture_is_turned_upright(tmp_path: Path, turn: int) -> None:
    palette = [257 * (255 - level) for level in range(256)] * 3
    kinds = [
        (noise(8, dtype="u1"), {}),
        (noise(12), {}),
        (noise(12), {"photometric": WHITE_IS_ZERO}),
        (noise(12), {"bits": 12}),
        (noise(1, dtype="u1"), {"bits": 1}),
        (noise(8, dtype="u1"), {"photometric": PALETTE, "tags": {320: palette}}),
        (noise(12, dtype="f4"), {}),
        (noise(8, 3, dtype="u1"), {"photometric": RGB}),
        (noise(12, 3), {"photometric": RGB, "separate": True}),
    ]
    for (values, options), compression, layout in product(kinds, (RAW, LZW), LAYOUTS):
        every = {**options, **layout, "compression": compression}
        upright = read_film(tiff(tmp_path / "film.tif", values, **every)).pixels
        path = tiff(
            tmp_path / "turned.tif", values, **every | {"tags": every.get("tags", {}) | {274: [turn]}}
        )
        assert np.array_equal(read_film(path).pixels, TURNS[turn](upright))
        assert read_header(path).shape == picture_size(path) == TURNS[turn](upright).shape


def test_transparent_parts_are_black_at_any_depth(tmp_path: Path) -> None:
    for bits, dtype, samples in product((8, 16), ("u",), (1, 3)):
        top = 2**bits - 1
        values = noise(bits, samples, dtype=f"{dtype}{bits // 8}")
        grey = luma(values) if samples == 3 else values[..., 0].astype(float)
        opacity = noise(bits, 1, dtype=f"{dtype}{bits // 8}")[::-1]
        both = np.concatenate([values, opacity], axis=2)
        photometric = RGB if samples == 3 else BLACK_IS_ZERO
        scale = stretched if bits == 16 else lambda x: x / 255
        near = 1e-5 if bits == 16 else 0.006
        multiplied = np.concatenate([np.minimum(values, opacity), opacity], axis=2)
        darker = multiplied[..., :samples]
        for kind, pixels, wanted in (
            (2, both, grey * (opacity[..., 0] / top)),
            (1, multiplied, luma(darker) if samples == 3 else darker[..., 0]),
            (0, both, grey),
        ):
            for separate in (False, True):
                options = {"photometric": photometric, "extra": [kind], "separate": separate}
                film = read_film(tiff(tmp_path / "film.tif", pixels, **options))
                assert np.abs(film.pixels - scale(wanted)).max() < near, (bits, samples, kind)
                assert film.notices == ()
        both[..., -1] = 0
        film = read_film(tiff(tmp_path / "clear.tif", both, photometric=photometric, extra=[2]))
        assert np.abs(film.pixels - scale(grey)).max() < near
        assert "transparent" in film.notices[0]


def test_more_samples_than_colours_are_left_out(tmp_path: Path) -> None:
    values = noise(8, 6, dtype="u1")
    for extra, opacity in (([0, 0, 0], None), ([0, 2, 0], values[..., 4])):
        film = read_film(tiff(tmp_path / "film.tif", values, photometric=RGB, extra=extra))
        wanted = luma(values) / 255 * (1 if opacity is None else opacity / 255)
        assert np.abs(film.pixels - wanted).max() < 0.006


def test_palettes_of_any_depth_are_looked_up(tmp_path: Path) -> None:
    for bits, compression in product((1, 2, 4, 8), PACKINGS):
        values, levels = noise(bits, dtype="u1"), 2**bits
        table = np.random.default_rng(0).integers(0, 256, (levels, 3))
        wanted = luma(table)[values] / 255
        for factor in (257, 1):  # some writers give 8 bits where 16 are due
            tags = {320: (table * factor).T.reshape(-1).tolist()}
            options = {"bits": bits, "photometric": PALETTE, "compression": compression, "rows": 5}
            path = tiff(tmp_path / "film.tif", values, tags=tags, **options)
            assert np.abs(read_film(path).pixels - wanted).max() < 0.004
    values, table = noise(8, 2, dtype="u1"), np.repeat(np.arange(256)[::-1, None], 3, axis=1)
    for kind, opacity in ((0, 255), (2, values[..., 1])):
        tags = {320: (table * 257).T.reshape(-1).tolist()}
        path = tiff(tmp_path / "film.tif", values, photometric=PALETTE, tags=tags, extra=[kind])
        assert np.abs(read_film(path).pixels - (255 - values[..., 0]) / 255 * (opacity / 255)).max() < 0.006
    values = noise(16)
    table = np.random.default_rng(0).integers(0, 65536, (65536, 3))
    path = tiff(tmp_path / "f.tif", values, photometric=PALETTE, tags={320: table.T.reshape(-1).tolist()})
    assert read_film(path).pixels == pytest.approx(stretched(luma(table)[values]), abs=1e-5)


def test_masks_and_labels_keep_their_numbers(tmp_path: Path) -> None:
    labels = noise(2, dtype="u1")
    colours = np.zeros((256, 3), int)
    colours[1:4] = [[0, 0, 255], [0, 255, 0], [255, 0, 0]]
    tags = {320: (colours * 257).T.reshape(-1).tolist()}
    path = tiff(tmp_path / "labels.tif", labels, photometric=PALETTE, tags=tags, compression=LZW)
    assert np.array_equal(read_labels(path), labels)
    assert np.array_equal(read_labels(tiff(tmp_path / "16.tif", labels.astype("u2"), order=">")), labels)
    assert np.array_equal(read_mask(tiff(tmp_path / "1.tif", labels % 2, bits=1)), labels % 2 == 1)
    assert np.array_equal(read_mask(tiff(tmp_path / "32.tif", labels.astype("u4") * 9000)), labels >= 2)


def test_printing_colours_of_16_bits(tmp_path: Path) -> None:
    ink = noise(16, 4)
    light = (65535 - ink.astype(float)) / 65535
    film = read_film(tiff(tmp_path / "film.tif", ink, photometric=CMYK, compression=LZW))
    assert film.pixels == pytest.approx(stretched(luma(light) * light[..., 3]), abs=1e-5)


def test_further_pages_are_told_once_and_only_where_there_are_some(tmp_path: Path) -> None:
    values = noise(12)
    for following, notices in ((0, 0), (16, 1), (2**31, 0)):  # the last is beyond the file
        for compression in (RAW, LZW):
            path = tiff(tmp_path / "film.tif", values, following=following, compression=compression)
            film = read_film(path)
            assert len(film.notices) == notices
            assert all("pages" in notice for notice in film.notices)


def test_a_kind_of_tiff_that_is_not_read_is_not_called_damaged(tmp_path: Path) -> None:
    values = noise(12)
    for options in (
        {"tags": {262: [32803]}},  # a camera's mosaic
        {"tags": {259: [34712]}},  # JPEG 2000
        {"tags": {258: [24]}},
        {"tags": {339: [6], 258: [64]}},  # complex
    ):
        path = tiff(tmp_path / "film.tif", values, **options)
        for reader in (read_film, read_header, picture_size):
            with pytest.raises(FilmError, match="unsupported type"):
                reader(path)


def test_tifffile_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "tifffile"):
        read_film(tiff(tmp_path / "film.tif", noise(12), rows=4))
        with pytest.raises(FilmError):
            read_film(tiff(tmp_path / "film.tif", noise(12), rows=4, tags={273: [16]}))
    assert [record for record in caplog.records if record.name == "tifffile"] == []
    assert capfd.readouterr() == ("", "")
    assert not logging.getLogger("tifffile").disabled


def test_only_who_reads_a_tiff_waits_for_tifffile(tmp_path: Path) -> None:
    Image.fromarray(noise(8, dtype="u1")).save(tmp_path / "film.png")
    tiff(tmp_path / "film.tif", noise(12))
    code = (
        "import sys, adaloraqat.cli.main\n"
        "from adaloraqat.radiograph import read_film\n"
        "read_film(sys.argv[1] + '/film.png'); print('tifffile' in sys.modules)\n"
        "read_film(sys.argv[1] + '/film.tif'); print('tifffile' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_compressions_of_pictures_are_left_to_pillow(tmp_path: Path) -> None:
    wide = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (24, 1))
    bilevel = wide > 100
    for picture, compression, wanted, near in (
        (Image.fromarray(wide), "jpeg", wide / 255, 0.02),
        (Image.fromarray(np.dstack([wide] * 3)), "jpeg", wide / 255, 0.03),
        (Image.fromarray(bilevel), "group4", bilevel * 1.0, 1e-9),
        (Image.fromarray(bilevel), "group3", bilevel * 1.0, 1e-9),
    ):
        for turn in (1, 6):
            stream = io.BytesIO()
            pages = {"save_all": True, "append_images": [picture]}
            picture.save(stream, "TIFF", compression=compression, tiffinfo={274: turn}, **pages)
            film = read_film(stream.getvalue())
            assert np.abs(film.pixels - TURNS[turn](wanted)).max() < near
            assert [notice.split(":")[0] for notice in film.notices] == ["The TIFF has several pages"]
