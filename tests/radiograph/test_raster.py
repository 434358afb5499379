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
