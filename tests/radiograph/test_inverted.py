from pathlib import Path

import numpy as np
import pytest

from adaloraqat.challenge.phantoms import draw_ultrasound, draw_volume
from adaloraqat.datasets.phantom import PHANTOM_SITES, draw_phantom
from adaloraqat.datasets.phantom.write import write_dicom
from adaloraqat.radiograph import Film, read_film
from adaloraqat.radiograph.inverted import (
    chest_likeness,
    inside_border,
    looks_inverted,
    looks_on_its_side,
    looks_upside_down,
    righted,
)


def chest(shape: tuple[int, int] = (200, 180)) -> np.ndarray:
    """Dark air and lungs, bright body and spine."""
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    body = np.where(np.abs(x) < 0.9 - 0.5 * np.clip(-y - 0.6, 0, 1), 0.6, 0.0) + 0.3 * (np.abs(x) < 0.12)
    lungs = ((np.abs(x) - 0.42) / 0.3) ** 2 + ((y + 0.15) / 0.6) ** 2 < 1
    return np.where(lungs, 0.2, body + 0.2 * (y > 0.4) * (np.abs(x) < 0.8)).astype(np.float32)


def test_a_drawn_chest_is_told_from_its_negative() -> None:
    assert chest_likeness(chest()) > 0.4
    assert not looks_inverted(chest())
    assert looks_inverted(1 - chest())
    assert looks_inverted(4095 * (1 - chest((1500, 1400))))


def test_the_film_is_righted_once_with_a_notice() -> None:
    film = righted(Film(1 - chest(), notices=("first",)))
    assert not looks_inverted(film.pixels)
    assert film.notices[0] == "first"
    assert "inverted" in film.notices[1]
    assert righted(film) is film


def test_pictures_without_a_chest_stay_as_they_are() -> None:
    noise = np.random.default_rng(0).random((300, 300))
    assert not looks_inverted(noise)
    assert chest_likeness(np.zeros((100, 100))) == 0
    assert not looks_inverted((1 - chest())[::4, ::4])  # too small to overrule its file


@pytest.fixture(scope="module", params=sorted(PHANTOM_SITES))
def phantoms(request: pytest.FixtureRequest) -> list[np.ndarray]:
    return [draw_phantom(seed, 128, request.param).pixels for seed in range(4)]


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("sides", [((1, 1), (1, 1)), ((1, 0), (0, 0)), ((0, 0), (0, 1)), ((0, 1), (1, 0))])
def test_a_border_neither_makes_nor_hides_a_negative(
    phantoms: list[np.ndarray], level: float, share: float, sides: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    width = np.array(sides) * round(share * 128)
    for pixels in phantoms:
        assert not looks_inverted(np.pad(pixels, width, constant_values=level))
        assert looks_inverted(np.pad(1 - pixels, width, constant_values=level))


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_foggy_film_on_a_noisy_sheet_is_judged_without_the_sheet(
    phantoms: list[np.ndarray], level: float
) -> None:
    noise = 0.005 * np.random.default_rng(0).standard_normal((178, 168))
    for pixels in phantoms:
        for film, negative in ((pixels, False), (1 - pixels, True)):
            sheet = np.pad(0.4 + 0.2 * film, ((20, 30), (0, 40)), constant_values=level)
            assert looks_inverted(np.clip(sheet + noise, 0, 1)) == negative


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("border", [0, 13])
def test_a_film_that_lies_on_a_side_or_upside_down_stays(
    phantoms: list[np.ndarray], quarters: int, border: int
) -> None:
    for pixels in phantoms:
        assert not looks_inverted(np.pad(np.rot90(pixels, quarters), border, constant_values=1))


@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.parametrize("border", [(0, 0), (13, 13), (0, 25)])
def test_only_a_film_turned_by_180_degrees_is_upside_down(
    phantoms: list[np.ndarray], border: tuple[int, int], level: float
) -> None:
    for pixels in phantoms:
        for mirrored in (pixels, pixels[:, ::-1]):
            found = [
                looks_upside_down(np.pad(np.rot90(mirrored, quarters), border, constant_values=level))
                for quarters in range(4)
            ]
            assert found == [False, False, True, False]


def test_what_shows_no_chest_is_not_upside_down(phantoms: list[np.ndarray]) -> None:
    assert not looks_upside_down(np.zeros((100, 100)))
    assert not looks_upside_down(np.random.default_rng(0).random((300, 300)))
    for pixels in phantoms:
        assert not looks_upside_down(1 - pixels)  # a negative: other words are for it
        assert not any(looks_upside_down(half) for half in (pixels[:, :64], pixels[:, 64:]))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_exposure_does_not_matter(phantoms: list[np.ndarray], gamma: float) -> None:
    for pixels in phantoms:
        assert not looks_inverted(pixels**gamma)
        assert looks_inverted(1 - pixels**gamma)


def test_other_pictures_stay() -> None:
    for seed in range(3):
        assert not any(looks_inverted(section) for section in draw_volume(seed, 128, 4).pixels)
        assert not looks_inverted(draw_ultrasound(seed, 128).pixels)


@pytest.mark.parametrize("turned", [False, True])
def test_the_tag_counts_where_the_content_does_not_contradict(tmp_path: Path, turned: bool) -> None:
    pixels = draw_phantom(0, 128).pixels
    film = np.rot90(pixels) if turned else pixels
    for inverted in (False, True):  # stored as MONOCHROME1 and tagged so
        path = tmp_path / f"{inverted}.dcm"
        write_dicom(path, np.ascontiguousarray(film), "film", "patient", (1.0, 1.0), inverted)
        read = read_film(path)
        assert not any("inverted" in notice for notice in read.notices)
        assert np.corrcoef(read.pixels.ravel(), film.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("site", sorted(PHANTOM_SITES))
@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_a_border_is_found_to_the_pixel(site: str, level: float) -> None:
    for seed in range(6):
        film = draw_phantom(seed, 128, site).pixels
        own = inside_border(film)  # what is uniform in the film itself: air
        padded = np.pad(film, ((9, 20), (0, 31)), constant_values=level)
        rows, columns = inside_border(padded)
        assert (rows.start, rows.stop) == (9 + own[0].start, 9 + own[0].stop)
        assert (columns.start, columns.stop) == (own[1].start, own[1].stop)


def test_edges_may_differ_in_level() -> None:
    film = np.random.default_rng(0).random((60, 50))
    sheet = np.pad(film, ((10, 0), (0, 0)), constant_values=1.0)
    sheet = np.pad(sheet, ((0, 0), (12, 0)), constant_values=0.0)
    assert inside_border(sheet) == (slice(10, 70), slice(12, 62))


def test_a_marker_in_the_border_does_not_end_it() -> None:
    sheet = np.pad(np.random.default_rng(0).random((80, 80)), 15)
    sheet[3:8, 5:14] = 1
    assert inside_border(sheet) == (slice(15, 95), slice(15, 95))


def test_a_film_without_a_border_stays_whole() -> None:
    assert inside_border(np.random.default_rng(0).random((64, 80))) == (slice(0, 64), slice(0, 80))
    assert inside_border(np.zeros((64, 80))) == (slice(0, 64), slice(0, 80))


def test_never_more_than_a_third_is_taken_off_at_an_edge() -> None:
    sheet = np.zeros((100, 100))
    sheet[45:90, 45:90] = np.random.default_rng(0).random((45, 45))
    assert inside_border(sheet) == (slice(35, 90), slice(35, 90))


def test_a_film_on_its_side_is_told(phantoms: list[np.ndarray]) -> None:
    for pixels in phantoms:
        told = [looks_on_its_side(np.rot90(pixels, turns)) for turns in range(4)]
        assert told == [False, True, False, True]
