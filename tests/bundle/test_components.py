import numpy as np
import pytest
from scipy import ndimage

from adaloraqat.bundle.components import connected_components, enclosing_box, remove_small_components


@pytest.mark.parametrize("density", [0.0, 0.1, 0.45, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (23, 1), (40, 33)])
def test_agrees_with_scipy(shape: tuple[int, int], density: float) -> None:
    mask = np.random.default_rng(7).random(shape) < density
    labels, count = ndimage.label(mask)
    expected = sorted(
        (int((labels == i + 1).sum()), (c.start, r.start, c.stop, r.stop))
        for i, (r, c) in enumerate(ndimage.find_objects(labels))
    )
    parts = connected_components(mask)
    assert sorted((part.area, part.box) for part in parts) == expected
    assert len(parts) == count
    assert [part.area for part in parts] == sorted((part.area for part in parts), reverse=True)


def test_a_spiral_is_one_part_and_diagonals_are_two() -> None:
    spiral = np.array(
        [
            [1, 1, 1, 1, 1],
            [0, 0, 0, 0, 1],
            [1, 1, 1, 0, 1],
            [1, 0, 0, 0, 1],
            [1, 1, 1, 1, 1],
        ],
        bool,
    )
    assert [part.area for part in connected_components(spiral)] == [17]
    assert len(connected_components(np.eye(2, dtype=bool))) == 2


def test_enclosing_box_of_the_two_largest() -> None:
    mask = np.zeros((10, 20), bool)
    mask[2:8, 1:5] = mask[3:9, 12:18] = mask[0, 19] = True
    assert enclosing_box(connected_components(mask)[:2]) == (1, 2, 18, 9)


def test_remove_small_components_removes_specks_and_fills_pinholes_but_keeps_both_lungs() -> None:
    logits = np.full((40, 40), -3.0, np.float32)
    logits[5:30, 3:15] = 2.0  # one lung, 300 cells
    logits[5:30, 20:32] = 2.0  # the other
    cleaned_truth = logits > 0
    logits[36:38, 36:38] = 1.5  # a speck of 4 cells
    logits[10:12, 8:10] = -0.5  # a pinhole of 4 cells
    cleaned = remove_small_components(logits, 0.1)
    assert np.array_equal(cleaned > 0, cleaned_truth)
    assert cleaned[36, 36] == -1.5
    assert cleaned[10, 8] == 0.5


def test_remove_small_components_keeps_large_holes_open_bays_and_empty_masks() -> None:
    logits = np.full((30, 30), -1.0, np.float32)
    logits[2:28, 2:28] = 1.0
    logits[8:20, 8:20] = -1.0  # a hole of 144 of 532 cells
    logits[2:4, 14] = -1.0  # a bay that opens to the outside
    assert np.array_equal(remove_small_components(logits, 0.1), logits)
    assert np.array_equal(remove_small_components(logits, 0.0), logits)
    empty = np.full((8, 8), -1.0, np.float32)
    assert np.array_equal(remove_small_components(empty, 0.1), empty)


def test_remove_small_components_agrees_with_scipy_on_random_masks() -> None:
    generator = np.random.default_rng(5)
    for _ in range(20):
        logits = ndimage.gaussian_filter(generator.normal(size=(48, 48)), 1.5).astype(np.float32)
        labels, _ = ndimage.label(logits > 0)
        areas = np.bincount(labels.ravel())[1:]
        kept = np.isin(labels, np.flatnonzero(areas >= 0.3 * areas.max()) + 1)
        assert np.array_equal((remove_small_components(logits, 0.3) > 0) & kept, kept)
        filled = ndimage.binary_fill_holes(kept)
        assert not ((remove_small_components(logits, 0.3) > 0) & ~filled).any()
