import io

import numpy as np
import pytest
from PIL import Image

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.corrupt import CLEAN, CORRUPTIONS, PHOTONS, corrupt


def film() -> tuple[np.ndarray, np.ndarray]:
    """A smooth film and, off its centre, a rectangle whose pixels are dark and marked."""
    rows, columns = np.mgrid[0:120, 0:100]
    pixels = (0.4 + 0.004 * rows + 0.001 * columns).astype(np.float32)
    mask = np.zeros(pixels.shape, bool)
    mask[30:80, 20:60] = True
    return np.where(mask, pixels - 0.3, pixels), mask


def stored(name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    corrupted = corrupt(name, *film(), seed)
    return np.asarray(Image.open(io.BytesIO(corrupted.content)), dtype=np.float32) / 255, corrupted.mask


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_seed_gives_one_film_and_the_mask_is_on_its_grid(name: str) -> None:
    first, again = corrupt(name, *film(), 5), corrupt(name, *film(), 5)
    assert first.content == again.content
    assert np.array_equal(first.mask, again.mask)
    pixels, mask = stored(name, 5)
    assert pixels.shape == mask.shape
    assert mask.any()


@pytest.mark.parametrize("name", [n for n in CORRUPTIONS if n not in (CLEAN, "jpeg_30")])
def test_the_mask_moves_with_what_it_marks(name: str) -> None:
    pixels, mask = stored(name)
    if name == "inverted":
        pixels = 1 - pixels
    outside = ~mask & (pixels > 0.05)  # not the black that some corruptions add
    assert np.median(pixels[mask]) < np.median(pixels[outside])
    edge = mask ^ np.roll(mask, 3, axis=1)
    assert np.abs(np.diff(pixels, axis=1))[edge[:, 1:]].mean() > np.abs(np.diff(pixels, axis=1)).mean()


def test_clean_is_the_film_itself() -> None:
    pixels, mask = stored(CLEAN)
    assert np.abs(pixels - film()[0]).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(mask, film()[1])


def test_inverting_exchanges_dark_and_bright() -> None:
    assert np.abs(stored("inverted")[0] - (1 - stored(CLEAN)[0])).max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("degrees", [5, 10, 15])
def test_rotation_turns_the_mask_by_its_angle_to_either_side(degrees: int) -> None:
    angles = set()
    for seed in range(8):
        mask = stored(f"rotated_{degrees}", seed)[1]
        rows, columns = np.nonzero(mask)
        covariance = np.cov(columns, rows)
        angles.add(
            round(0.5 * np.degrees(np.arctan2(2 * covariance[0, 1], covariance[1, 1] - covariance[0, 0])))
        )
    assert {abs(angle) for angle in angles} <= {degrees - 1, degrees, degrees + 1}
    assert min(angles) < 0 < max(angles)


def test_cropping_and_collimation_take_5_to_12_percent_at_each_edge() -> None:
    for seed in range(5):
        height, width = stored("cropped", seed)[0].shape
        assert 0.76 * 120 - 2 <= height <= 0.90 * 120 + 2
        assert 0.76 * 100 - 2 <= width <= 0.90 * 100 + 2
        pixels, _ = stored("collimated", seed)
        open_rows, open_columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        assert 6 <= open_rows[0] <= 15
        assert 6 <= 120 - 1 - open_rows[-1] <= 15
        assert 5 <= open_columns[0] <= 12
        assert 5 <= 100 - 1 - open_columns[-1] <= 12


def test_the_foreign_border_is_black_or_white_and_keeps_the_film_whole() -> None:
    colours = set()
    for seed in range(8):
        pixels, mask = stored("foreign_border", seed)
        assert pixels.shape == (156, 130)
        assert mask.sum() == film()[1].sum()
        top, left = (int(axis.min()) for axis in np.nonzero(mask))
        inside = pixels[top - 30 : top + 90, left - 20 : left + 80]
        assert np.abs(inside - film()[0]).max() <= 0.5 / 255 + 1e-6
        sheet = np.delete(pixels, np.s_[top - 30 : top + 90], axis=0)
        colours |= set(np.unique(sheet))
    assert colours == {0.0, 1.0}


def test_noise_has_the_strength_that_is_told() -> None:
    flat = np.full((200, 200), 0.5, np.float32)
    noisy = corrupt("noisy", flat, flat > 1, 1).content
    assert np.asarray(Image.open(io.BytesIO(noisy))).std() / 255 == pytest.approx(0.08, rel=0.03)
    for level, photons in ((1 / 6, PHOTONS), (0.5, PHOTONS * np.exp(-1))):
        few = corrupt("low_exposure", np.full((300, 300), level, np.float32), np.ones((300, 300), bool), 1)
        values = np.asarray(Image.open(io.BytesIO(few.content)), dtype=np.float64) / 255
        # of a Poisson count n the logarithm has a standard deviation of about 1 / sqrt(n)
        assert values.std() == pytest.approx(1 / np.sqrt(photons) / 3, rel=0.12)
        assert values.mean() == pytest.approx(level, abs=0.03)


def test_blur_keeps_the_mean_and_smooths() -> None:
    pixels, _ = stored("blurred")
    assert pixels.mean() == pytest.approx(stored(CLEAN)[0].mean(), abs=0.002)
    assert np.abs(np.diff(pixels)).max() < 0.6 * np.abs(np.diff(stored(CLEAN)[0])).max()


def test_low_contrast_keeps_a_fifth_of_the_range() -> None:
    pixels, _ = stored("low_contrast")
    assert pixels.min() >= 0.54
    assert pixels.max() <= 0.76


def test_an_unknown_corruption_is_refused() -> None:
    with pytest.raises(FilmError, match=r"no corruption 'upside_down'.*rotated_5"):
        corrupt("upside_down", *film(), 0)
