import numpy as np
import pytest

from adaloraqat.datasets.phantom import PHANTOM_SITES, draw_phantom
from adaloraqat.radiograph.border import inside_border


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
