import numpy as np
import pytest
from scipy import ndimage

from adaloraqat.bundle.parts import connected_parts, enclosing_box


@pytest.mark.parametrize("density", [0.0, 0.1, 0.45, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (23, 1), (40, 33)])
def test_agrees_with_scipy(shape: tuple[int, int], density: float) -> None:
    mask = np.random.default_rng(7).random(shape) < density
    labels, count = ndimage.label(mask)
    expected = sorted(
        (int((labels == i + 1).sum()), (c.start, r.start, c.stop, r.stop))
        for i, (r, c) in enumerate(ndimage.find_objects(labels))
    )
    parts = connected_parts(mask)
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
    assert [part.area for part in connected_parts(spiral)] == [17]
    assert len(connected_parts(np.eye(2, dtype=bool))) == 2


def test_enclosing_box_of_the_two_largest() -> None:
    mask = np.zeros((10, 20), bool)
    mask[2:8, 1:5] = mask[3:9, 12:18] = mask[0, 19] = True
    assert enclosing_box(connected_parts(mask)[:2]) == (1, 2, 18, 9)
