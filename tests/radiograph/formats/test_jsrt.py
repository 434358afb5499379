import numpy as np
import pytest

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import find_films, read_film
from adaloraqat.radiograph.formats import Header, read_header


def raw_film() -> np.ndarray:
    """A chest in JSRT's sense: high numbers (dense blackening) where there is air."""
    values = np.full((2048, 2048), 1000, dtype=np.uint16)
    for left in (300, 1200):
        values[400:1500, left : left + 500] = 3500
    values[0, 0], values[0, 1] = 0, 4095
    return values


def test_high_byte_first_and_high_is_dark(tmp_path):
    path = tmp_path / "JPCLN001.IMG"
    raw_film().astype(">u2").tofile(path)
    film = read_film(path)
    assert film.shape == (2048, 2048)
    assert film.spacing_mm == (0.175, 0.175)
    assert film.notices == ()  # the right way round: nothing had to be righted
    assert film.pixels[0, 0] == 1
    assert film.pixels[0, 1] == 0
    assert film.pixels[1000, 500] == pytest.approx((4095 - 3500) / 4095)
    assert read_header(path) == Header((2048, 2048), (0.175, 0.175))
    (tmp_path / "disk.img").write_bytes(b"something else of that name")
    assert find_films(tmp_path) == [path]


def test_low_byte_first_and_other_sizes_are_refused(tmp_path):
    swapped = tmp_path / "JPCLN002.IMG"
    raw_film().astype("<u2").tofile(swapped)
    with pytest.raises(FilmError, match="more than 12 bits"):
        read_film(swapped)
    short = tmp_path / "JPCLN003.IMG"
    short.write_bytes(b"\1" * 1000)
    with pytest.raises(FilmError, match=r"JPCLN003\.IMG"):
        read_film(short)
