import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import Film, read_film, read_mask


def noise(side: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8))


def huge_png(path: Path, side: int) -> Path:
    """A PNG that says it has side x side pixels and holds none: only its header can refuse it."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def refused(path: Path, words: str) -> None:
    with pytest.raises(FilmError, match=words) as caught:
        read_film(path)
    sentence = str(caught.value)
    assert path.name in sentence
    assert str(path.parent) not in sentence
    assert "\n" not in sentence


def test_what_is_no_film_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "missing.png", "does not exist")
    (tmp_path / "empty.png").write_bytes(b"")
    refused(tmp_path / "empty.png", "empty")
    (tmp_path / "text.png").write_text("a letter, not a film")
    refused(tmp_path / "text.png", "not a film")
    (tmp_path / "text.dcm").write_text("a letter, not a film\n" * 40)
    refused(tmp_path / "text.dcm", "DICOM")
    (tmp_path / "folder.png").mkdir()
    refused(tmp_path / "folder.png", "folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_a_pipe_is_refused_and_a_link_to_a_film_is_not(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "film.png").symlink_to(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)  # a reader would get these and not hang
    os.write(writer, bytes(range(1, 200)))
    try:
        refused(tmp_path / "film.png", "pipe")
    finally:
        os.close(writer)
    noise().save(tmp_path / "real.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    assert read_film(tmp_path / "link.png").shape == (64, 64)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.9])
def test_a_truncated_picture_is_refused(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"film{suffix}"
    noise().save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    refused(path, "damaged|readable")


def test_a_damaged_byte_in_a_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    noise().save(path)
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    refused(path, "damaged")


@pytest.mark.parametrize("side", [1, 15])
def test_a_film_too_small_is_refused(tmp_path: Path, side: int) -> None:
    noise(side).save(tmp_path / "small.png")
    refused(tmp_path / "small.png", f"{side} x {side} pixels")


@pytest.mark.parametrize("side", [9_500, 10_001, 20_000])
def test_a_film_too_large_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    refused(huge_png(tmp_path / "huge.png", side), "100 megapixels" if side > 10_000 else "damaged")


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    noise().save(tmp_path / "film.dcm", format="PNG")
    assert read_film(tmp_path / "film.dcm").shape == (64, 64)


def test_npz_films(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (40, 30)).astype(np.uint16)
    np.savez(tmp_path / "film.npz", imgs=pixels, boxes=np.zeros((1, 4)))
    film = read_film(tmp_path / "film.npz")
    low, high = int(pixels.min()), int(pixels.max())
    assert film.pixels == pytest.approx((pixels - low) / (high - low), abs=1e-6)
    np.savez_compressed(tmp_path / "one.npz", anything=pixels)
    assert read_film(tmp_path / "one.npz").shape == (40, 30)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros((20, 20)), "b": np.zeros((20, 20))}, "no array named"),
        ({"image": np.zeros((5, 20, 20))}, "shape"),
        ({"image": np.zeros((4, 4))}, "4 x 4"),
        ({"image": np.full((20, 20), np.nan)}, "not finite"),
        ({"image": np.array([[None] * 20] * 20, dtype=object)}, "pickled"),
    ],
)
def test_unusable_npz_files_are_refused(tmp_path: Path, arrays: dict, words: str) -> None:
    np.savez(tmp_path / "film.npz", **arrays)
    refused(tmp_path / "film.npz", words)


def test_a_truncated_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "film.npz", image=np.zeros((100, 100)))
    path = tmp_path / "film.npz"
    path.write_bytes(path.read_bytes()[:3000])
    refused(path, "truncated")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((10, 64, 64)), "shape"),
        (np.zeros((64, 64), complex), "complex"),
        (np.full((64, 64), np.inf), "not finite"),
        (np.zeros((64, 8)), "8 x 64"),
        (np.tile([-1.7e308, 1.7e308], (64, 32)), "too far apart"),
    ],
)
def test_unusable_arrays_are_refused(array: np.ndarray, words: str) -> None:
    with pytest.raises(FilmError, match=words):
        Film.from_array(array)


def test_usable_arrays(tmp_path: Path) -> None:
    half = np.full((20, 20), 0.5)
    assert (Film.from_array(half).pixels == 0.5).all()  # already in [0, 1]: kept
    assert (Film.from_array(np.full((20, 20), 300)).pixels == 0).all()  # constant: nothing to show
    assert Film.from_array(np.full((20, 20, 3), 255, np.uint8)).pixels == pytest.approx(1)


def test_an_unreadable_mask_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("no mask")
    with pytest.raises(FilmError, match=r"mask\.png is not a readable picture"):
        read_mask(tmp_path / "mask.png")
    with pytest.raises(FilmError, match="does not exist"):
        read_mask(tmp_path / "none.png")
