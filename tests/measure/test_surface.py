import sys
from pathlib import Path

import numpy as np
import pytest

from adaloraqat.errors import FilmError
from adaloraqat.measure.surface import diagonal, outline, surface_distances

sys.path.insert(0, str(Path(__file__).parent))
from outlines_by_hand import blobs, measures


def square(shape, top, left, side):
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_outline_of_a_square_by_hand():
    """Four corners cut at half a diagonal each, and between them (side - 1) whole steps on each side."""
    positions, lengths = outline(square((20, 20), 5, 7, 4), (1, 1))
    assert len(positions) == 4 * 3 + 4
    assert lengths.sum() == pytest.approx(4 * 3 + 4 * np.sqrt(0.5))
    assert positions.min(axis=0) == pytest.approx([4.5, 6.5])
    assert positions.max(axis=0) == pytest.approx([8.5, 10.5])


def test_a_mask_at_the_edge_of_the_film_has_an_outline_there():
    _, lengths = outline(np.ones((4, 6), bool), (2, 1))
    assert lengths.sum() == pytest.approx(2 * 5 * 1 + 2 * 3 * 2 + 4 * 0.5 * np.hypot(2, 1))


def test_a_shifted_square_by_hand():
    """Shifted by 3 columns: the sides across lie 3 px apart, the sides along overlap but for their ends."""
    truth, prediction = square((40, 40), 10, 10, 12), square((40, 40), 10, 13, 12)
    distances = surface_distances(prediction, truth, (0.5, 2.0))
    assert distances.hausdorff(100) == pytest.approx(6.0)
    assert distances.nsd(6.0) == 1.0
    assert distances.nsd(1.0) < 1.0


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_a_slow_independent_implementation(seed):
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(12, 30, 2))
    spacing = tuple(random.uniform(0.3, 2.5, 2)) if seed % 3 else (1.0, 1.0)
    prediction, truth = blobs(random, shape), blobs(random, shape)
    tolerance = float(random.choice([0.0, 1.0, 2.0]))
    distances = surface_distances(prediction, truth, spacing)
    found = distances.nsd(tolerance), distances.hausdorff(), distances.average()
    assert found == pytest.approx(measures(prediction, truth, spacing, tolerance), rel=1e-9, abs=1e-12)


def test_does_not_depend_on_which_mask_comes_first():
    random = np.random.default_rng(5)
    a, b = blobs(random, (25, 31)), blobs(random, (25, 31))
    one, other = surface_distances(a, b, (0.7, 1.1)), surface_distances(b, a, (0.7, 1.1))
    assert one.nsd(1.5) == pytest.approx(other.nsd(1.5))
    assert one.hausdorff() == other.hausdorff()
    assert one.average() == pytest.approx(other.average())


def test_equal_masks_are_no_distance_apart():
    mask = square((16, 16), 3, 4, 5)
    distances = surface_distances(mask, mask.copy())
    assert (distances.nsd(0), distances.hausdorff(), distances.average()) == (1.0, 0.0, 0.0)


def test_diagonal_is_in_the_unit_of_the_spacing():
    assert diagonal((30, 40)) == 50
    assert diagonal((30, 40), (2, 0.5)) == pytest.approx(np.hypot(60, 20))


def test_an_empty_mask_and_a_spacing_that_is_none_are_refused():
    mask = square((16, 16), 3, 4, 5)
    with pytest.raises(FilmError, match="empty mask"):
        surface_distances(mask, np.zeros_like(mask))
    for spacing in ((0, 1), (1, float("nan")), (-1, 1)):
        with pytest.raises(FilmError, match="spacing"):
            surface_distances(mask, mask, spacing)
