import io
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import read_film

RAMP = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (24, 1))  # (24, 40)
WIDE = RAMP.astype(np.float32) / 255


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg"])
def test_eight_bits_keep_their_values(tmp_path: Path, suffix: str) -> None:
    film = read_film(saved(tmp_path / f"film{suffix}", Image.fromarray(RAMP)))
    assert film.pixels.dtype == np.float32
    assert film.shape == (24, 40)
    assert np.abs(film.pixels - WIDE).max() <= (0.02 if suffix == ".jpg" else 0)
    assert (film.spacing_mm, film.patient, film.notices) == (None, None, ())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK", "YCbCr"])
def test_colour_modes_give_their_grey(tmp_path: Path, mode: str) -> None:
    suffix = ".tif" if mode in ("CMYK", "YCbCr") else ".png"
    film = read_film(saved(tmp_path / f"film{suffix}", Image.fromarray(RAMP).convert(mode)))
    assert np.abs(film.pixels - WIDE).max() < 0.03


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP // 6).convert("P")
    image.putpalette([value for index in range(256) for value in [255 - index] * 3])
    film = read_film(saved(tmp_path / "palette.png", image))
    assert np.abs(film.pixels - (255 - RAMP // 6) / 255).max() < 1e-6


def test_colour_is_weighted_as_luma_and_transparency_is_black(tmp_path: Path) -> None:
    values = np.zeros((16, 16, 4), np.uint8)
    values[:8] = (255, 0, 0, 255)
    values[8:] = (255, 255, 255, 0)
    film = read_film(saved(tmp_path / "red.png", Image.fromarray(values)))
    assert film.pixels[0, 0] == pytest.approx(0.299, abs=0.003)
    assert film.pixels[15, 0] == 0


def test_a_transparent_palette_gives_no_warning(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP).convert("P")
    film = read_film(saved(tmp_path / "palette.png", image, transparency=bytes([0] + [255] * 255)))
    assert film.shape == (24, 40)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled_by_their_own_range(tmp_path: Path, suffix: str) -> None:
    twelve = np.tile(np.arange(100, 4100, 100, dtype=np.uint16), (24, 1))
    film = read_film(saved(tmp_path / f"film{suffix}", Image.fromarray(twelve)))
    assert film.pixels == pytest.approx((twelve - 100) / 3900, abs=1e-6)


def test_a_sixteen_bit_tiff_whose_zero_is_white_is_inverted(tmp_path: Path) -> None:
    twelve = np.tile(np.arange(0, 4000, 100, dtype=np.uint16), (24, 1))
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    path = saved(tmp_path / "white.tif", Image.fromarray(twelve), tiffinfo=tags)
    with Image.open(path) as image:
        if image.tag_v2[262] != 0:
            pytest.skip("this Pillow does not write the tag")
    pixels = read_film(path).pixels
    assert pixels[0, 0] == 1
    assert pixels[0, -1] == 0


def test_exif_rotation_is_obeyed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    film = read_film(saved(tmp_path / "turned.png", Image.fromarray(RAMP), exif=exif))
    assert film.pixels == pytest.approx(np.rot90(WIDE, -1))


def test_a_float_tiff_keeps_its_order_and_nan_is_refused(tmp_path: Path) -> None:
    values = np.linspace(-3, 5, 24 * 40, dtype=np.float32).reshape(24, 40)
    film = read_film(saved(tmp_path / "float.tif", Image.fromarray(values)))
    assert film.pixels == pytest.approx((values + 3) / 8, abs=1e-6)
    values[3, 3] = np.nan
    with pytest.raises(FilmError, match="not finite"):
        read_film(saved(tmp_path / "nan.tif", Image.fromarray(values)))


def test_of_several_pages_the_first_is_read_with_a_notice(tmp_path: Path) -> None:
    pages = [Image.fromarray(RAMP), Image.fromarray(RAMP[:, ::-1].copy())]
    film = read_film(saved(tmp_path / "pages.tif", pages[0], save_all=True, append_images=pages[1:]))
    assert np.array_equal(film.pixels, WIDE)
    assert "pages" in film.notices[0]


ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def filtered(values: np.ndarray) -> bytes:
    """PNG lines of (H, W, C) uint16 with each of the five filters in turn, by the formulas of the format."""
    lines = values.astype(">u2").reshape(len(values), -1).view(np.uint8).astype(int)
    pixel, out, above = 2 * values.shape[2], b"", [0] * lines.shape[1]
    for number, line in enumerate(lines.tolist()):
        kind, coded = number % 5, []
        for i, value in enumerate(line):
            a = line[i - pixel] if i >= pixel else 0
            b, c = above[i], above[i - pixel] if i >= pixel else 0
            nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            coded.append((value - (0, a, b, (a + b) // 2, nearest)[kind]) % 256)
        out += bytes([kind, *coded])
        above = line
    return out


def deep_png(path: Path, values: np.ndarray, interlaced: bool) -> Path:
    kind = {2: 4, 3: 2, 4: 6}[values.shape[2]]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, int(interlaced))
    parts = [values[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [values]
    data = zlib.compress(b"".join(filtered(part) for part in parts if part.size))
    chunks = [(b"IHDR", header), (b"IDAT", data[:99]), (b"IDAT", data[99:]), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_sixteen_bit_colour_keeps_twelve_bit_films(tmp_path: Path, channels: int, interlaced: bool) -> None:
    """Pillow would leave 16 grey levels of such a film."""
    film = np.random.default_rng(channels).integers(0, 4096, (21, 34)).astype(np.uint16)
    values = np.repeat(film[..., None], channels, axis=2)
    if channels != 3:
        values[..., -1] = 65535
    path = deep_png(tmp_path / "deep.png", values, interlaced)
    assert read_film(path).pixels == pytest.approx((film - film.min()) / float(np.ptp(film)), abs=1e-5)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(FilmError, match=r"deep\.png"):
        read_film(path)


TURNS = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.T,
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].T,
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_turned_tiff_is_upright(tmp_path: Path, turn: int, compression: str) -> None:
    film = np.random.default_rng(0).integers(0, 255, (24, 40), dtype=np.uint8)
    path = saved(tmp_path / "t.tif", Image.fromarray(film), tiffinfo={274: turn}, compression=compression)
    assert (read_film(path).pixels == TURNS[turn](film / np.float32(255))).all()


def test_unsigned_32_bits_do_not_turn_negative(tmp_path: Path) -> None:
    values = np.tile(np.linspace(0, 2**32 - 1, 40).astype(np.uint32), (24, 1))
    tags = {258: 32, 339: 1}
    path = saved(tmp_path / "u32.tif", Image.fromarray(values.view(np.int32)), tiffinfo=tags)
    with Image.open(path) as image:
        if image.tag_v2.get(339, (1,))[0] != 1:
            pytest.skip("this Pillow does not write the tag")
    assert (np.diff(read_film(path).pixels[0]) > 0).all()


def test_a_picture_transparent_everywhere_is_shown(tmp_path: Path) -> None:
    values = np.dstack([RAMP, RAMP, RAMP, np.zeros_like(RAMP)])
    film = read_film(saved(tmp_path / "clear.png", Image.fromarray(values)))
    assert np.abs(film.pixels - WIDE).max() < 1e-6
    assert "transparen" in film.notices[0]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 7}])
@pytest.mark.parametrize("border", [False, True])
def test_a_cut_jpeg_with_an_end_marker_is_refused(tmp_path: Path, options: dict, border: bool) -> None:
    film = np.random.default_rng(0).integers(80, 120, (120, 90), dtype=np.uint8)
    film[100 if border else 120 :] = 0  # a flat lower border is no sign by itself
    stream = io.BytesIO()
    Image.fromarray(film).save(stream, "JPEG", quality=90, **options)
    content, path = stream.getvalue(), tmp_path / "film.jpg"
    path.write_bytes(content)
    assert read_film(path).shape == (120, 90)
    for part in (0.3, 0.5, 0.8):
        path.write_bytes(content[: int(part * len(content))] + b"\xff\xd9")
        with pytest.raises(FilmError, match="truncated"):
            read_film(path)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_a_png_whose_tail_is_overwritten_is_refused(tmp_path: Path, deep: bool, filler: bytes) -> None:
    film = np.random.default_rng(0).integers(80, 120, (300, 300)).astype(np.uint16 if deep else np.uint8)
    path = saved(tmp_path / "film.png", Image.fromarray(film))
    content = path.read_bytes()
    for part in (0.5, 0.9, 0.99):
        kept = int(part * len(content))
        path.write_bytes(content[:kept] + filler * (len(content) - kept))
        with pytest.raises(FilmError, match=r"film\.png is damaged"):
            read_film(path)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_jpeg_that_other_pictures_follow_is_refused(tmp_path: Path, progressive: bool) -> None:
    pages = [
        Image.fromarray(np.random.default_rng(seed).integers(80, 120, (120, 90), dtype=np.uint8))
        for seed in (0, 1)
    ]
    options = {"save_all": True, "append_images": pages[1:], "quality": 90, "progressive": progressive}
    path = saved(tmp_path / "film.mpo", pages[0], format="MPO", **options).rename(tmp_path / "film.jpg")
    content = path.read_bytes()
    assert read_film(path).shape == (120, 90)
    scan, end = content.index(b"\xff\xda"), content.index(b"\xff\xd9")
    cut = scan + (end - scan) // 2
    path.write_bytes(content[:cut] + b"\xff\xd9" + content[end + 2 :])
    with pytest.raises(FilmError, match="truncated"):
        read_film(path)


def tiff(
    path: Path, pixels: np.ndarray, photometric: int = 1, bits: int | None = None, deflated: bool = False
) -> Path:
    """A grey TIFF in the byte order and of the type of (H, W) `pixels`."""
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    kind, bits = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind], bits or 8 * pixels.dtype.itemsize
    (height, width), data = pixels.shape, pixels.tobytes()
    data = zlib.compress(data) if deflated else data
    tags = {256: width, 257: height, 258: bits, 259: 8 if deflated else 1, 262: photometric, 273: 0, 277: 1}
    tags |= {278: height, 279: len(data), 339: kind}
    tags[273] = 14 + 12 * len(tags)
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = struct.pack(f"{order}2sHIH", b"MM" if order == ">" else b"II", 42, 8, len(tags))
    path.write_bytes(head + entries + bytes(4) + data)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_float_tiff_whose_zero_is_white_is_inverted(tmp_path: Path, order: str) -> None:
    for values in (WIDE * 0.5, WIDE * 1000):
        film = read_film(tiff(tmp_path / "film.tif", values.astype(f"{order}f4"), photometric=0))
        wanted = 1 - values if values.max() <= 1 else 1 - values / values.max()
        assert film.pixels == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("kind", ["i1", "<i2", ">i2", "<i4", ">i4", "<u4", "<u2", ">u2", "<f4", ">f4"])
def test_the_numbers_of_a_tiff_keep_their_order(tmp_path: Path, kind: str, deflated: bool) -> None:
    low = -120 if "i" in kind or "f" in kind else 0
    film = read_film(tiff(tmp_path / "film.tif", (RAMP.astype(int) + low).astype(kind), deflated=deflated))
    assert film.pixels == pytest.approx(RAMP / float(RAMP.max()), abs=1e-6)


def test_a_signed_tiff_without_negative_numbers_stays(tmp_path: Path) -> None:
    film = read_film(tiff(tmp_path / "film.tif", (RAMP // 2).astype(np.int8)))
    assert (film.pixels == (RAMP // 2) / np.float32(255)).all()


def test_a_kind_of_tiff_that_is_not_read_is_not_called_damaged(tmp_path: Path) -> None:
    for name, values, tags in (
        ("f8", WIDE.astype("<f8"), {}),
        ("u4", RAMP.astype(">u4"), {}),
        ("12", RAMP.astype(">u2"), {"bits": 12}),
        ("white", RAMP.astype(">u2"), {"photometric": 0}),
    ):
        with pytest.raises(FilmError, match="unsupported type") as caught:
            read_film(tiff(tmp_path / f"{name}.tif", values, **tags))
        assert "16 bits" in str(caught.value)


def test_faulty_tags_that_do_not_matter_give_no_warning(tmp_path: Path) -> None:
    picture, exif = Image.fromarray(RAMP), Image.Exif()
    exif[274] = 1
    path = saved(tmp_path / "film.jpg", picture, exif=exif, quality=95)
    content = path.read_bytes()
    count = content.index(b"Exif\0\0") + 14
    path.write_bytes(content[:count] + b"\x09\x00" + content[count + 2 :])
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = 1
    other = saved(tmp_path / "film.tif", picture, tiffinfo=tags)
    entry = struct.pack("<HHI", 274, 3, 1)
    other.write_bytes(other.read_bytes().replace(entry, struct.pack("<HHI", 274, 3, 2)))
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert np.abs(read_film(path).pixels - WIDE).max() <= 0.02
        assert (read_film(other).pixels == WIDE).all()
    assert [str(warning.message) for warning in shown] == []


@pytest.mark.parametrize("bits", [8, 16])
def test_colours_of_16_bits_in_separate_planes_are_not_read_wrong(tmp_path: Path, bits: int) -> None:
    data = (RAMP.astype("<u2") << 8 if bits == 16 else RAMP).tobytes()
    places = {tag: 200 + 12 * at for at, tag in enumerate((258, 273, 279))}  # of three numbers each
    tags = {
        256: RAMP.shape[1],
        257: RAMP.shape[0],
        258: 3,
        259: 1,
        262: 2,
        273: 3,
        277: 3,
        278: RAMP.shape[0],
    }
    tags |= {279: 3, 284: 2}
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 3 if tag in places else 1, places.get(tag, value))
        for tag, value in tags.items()
    )
    numbers = struct.pack("<9I", *[bits] * 3, *(300 + len(data) * at for at in range(3)), *[len(data)] * 3)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)
    (tmp_path / "film.tif").write_bytes((head.ljust(200, b"\0") + numbers).ljust(300, b"\0") + 3 * data)
    if bits == 8:
        assert np.abs(read_film(tmp_path / "film.tif").pixels - WIDE).max() < 0.01
    else:
        with pytest.raises(FilmError, match="separate planes"):
            read_film(tmp_path / "film.tif")


@pytest.mark.parametrize("deep", [False, True])
def test_a_png_with_fewer_rows_than_it_says_is_refused(tmp_path: Path, deep: bool) -> None:
    values = np.repeat(RAMP.astype(np.uint16)[..., None] * 256, 3, axis=2)
    values[-8:] = 0  # a black border is no sign by itself
    path = tmp_path / "film.png"
    if deep:
        deep_png(path, values, interlaced=False)
    else:
        Image.fromarray((values[..., 0] >> 8).astype(np.uint8)).save(path)
    assert read_film(path).shape == (24, 40)
    content = path.read_bytes()
    header = content[12:20] + struct.pack(">I", 30) + content[24:29]
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    with pytest.raises(FilmError, match="truncated"):
        read_film(path)


@pytest.mark.parametrize("quality", [98, 75])
def test_a_jpeg_with_noise_among_its_data_is_mostly_refused(tmp_path: Path, quality: int) -> None:
    rows, columns = np.mgrid[0:200, 0:200]
    film = (128 + 90 * np.sin(columns / 17) * np.cos(rows / 23)).astype(np.uint8)
    film += np.random.default_rng(0).integers(0, 9, film.shape, dtype=np.uint8)
    film[-20:] = 0  # a flat lower border is no sign by itself
    path = saved(tmp_path / "film.jpg", Image.fromarray(film), quality=quality)
    content = path.read_bytes()
    assert read_film(path).shape == film.shape
    path.write_bytes(content[:-2] + bytes(40) + content[-2:])  # nor is what an encoder fills up
    assert read_film(path).shape == film.shape
    refused = 0
    for seed in range(4):
        noise = np.random.default_rng(seed).integers(0, 254, 800, dtype=np.uint8).tobytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + noise + content[middle + len(noise) :])
        try:
            read_film(path)
        except FilmError as error:
            refused += bool(re.search(r"damaged|truncated", str(error)))
    assert refused >= 3  # what is displaced by no more than a few blocks passes


def test_a_border_as_grey_as_what_decoders_fill_in_is_no_damage() -> None:
    """The last block of a picture with halved colours lies partly outside; its data then show nothing."""
    ramp = np.tile(np.linspace(0, 255, 96, dtype=np.uint8), (96, 1))
    for height in range(129, 146):
        grey = np.full((height, 128), 128, np.uint8)
        grey[16:112, 16:112] = ramp
        stream = io.BytesIO()
        Image.fromarray(grey).convert("RGB").save(stream, "JPEG")
        assert read_film(stream.getvalue()).shape == (height, 128)


@pytest.mark.parametrize("value", [7, 128, 255])
def test_a_blank_jpeg_is_blank_and_not_damaged(value: int) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((64, 64), value, np.uint8)).save(stream, "JPEG", optimize=True)
    content = stream.getvalue()
    assert read_film(content).shape == (64, 64)
    assert read_film(content[:-2] + 8 * b"\x80" + content[-2:]).shape == (64, 64)
