"""Outlines lie on the border of a mask, and the films shown are chosen by rule."""

import numpy as np
from PIL import Image

from adaloraqat.radiograph import Film
from adaloraqat.report.pictures import Contour, choose, draw_contours, write_strip
from adaloraqat.report.style import BEFORE, TRUTH, rgb


def square(size=64, low=16, high=48):
    mask = np.zeros((size, size), dtype=bool)
    mask[low:high, low:high] = True
    return mask


def test_an_outline_follows_the_border_and_leaves_the_rest_grey():
    film = Film.from_array(np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1)))
    picture = np.asarray(draw_contours(film, [Contour(square(), TRUTH, 4)], side=256)).astype(int)
    assert picture.shape == (256, 256, 3)
    coloured = np.ptp(picture, axis=2) > 60
    rows, columns = np.nonzero(coloured)
    # the mask's border lies at 16 and 48 of 64 pixels: at 64 and 192 of 256, give or take half the line
    assert 61 <= rows.min() <= 64
    assert 191 <= rows.max() <= 194
    assert 61 <= columns.min() <= 64
    assert 191 <= columns.max() <= 194
    assert not coloured[80:176, 80:176].any()
    assert np.allclose(picture[128, 64], rgb(TRUTH), atol=40)


def test_a_wide_film_keeps_its_shape_and_an_empty_mask_draws_nothing():
    film = Film.from_array(np.random.default_rng(0).random((32, 64), dtype=np.float32))
    empty = Contour(np.zeros((32, 64), dtype=bool), BEFORE)
    picture = np.asarray(draw_contours(film, [empty], side=128))
    assert picture.shape == (64, 128, 3)
    assert (np.ptp(picture.astype(int), axis=2) == 0).all()


def test_best_median_and_worst_are_chosen_by_rule():
    assert choose({"a": 0.9, "b": 0.5, "c": 0.7, "d": 0.8}) == {"best": "a", "median": "c", "worst": "b"}
    assert choose({"b": 0.5, "a": 0.5, "c": 0.5}) == {"best": "c", "median": "b", "worst": "a"}
    assert choose({"a": 0.9, "b": 0.5}) == {"best": "a", "median": "b"}
    assert choose({"a": 0.9}) == {"best": "a"}


def test_a_strip_holds_its_panels_side_by_side(tmp_path):
    panels = [("One", "below", Image.new("RGB", (40, 60), "red")), ("Two", "", Image.new("RGB", (30, 60)))]
    write_strip(tmp_path / "strip.png", panels)
    strip = np.asarray(Image.open(tmp_path / "strip.png").convert("RGB"))
    assert strip.shape == (34 + 60 + 32, 10 + 40 + 10 + 30 + 10, 3)
    assert tuple(strip[60, 30]) == (255, 0, 0)
    assert tuple(strip[60, 75]) == (0, 0, 0)
