import numpy as np

from adaloraqat.radiograph import Film
from adaloraqat.radiograph.inverted import chest_likeness, looks_inverted, righted


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
