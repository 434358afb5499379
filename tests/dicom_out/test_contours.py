"""Outlines are the mask's edge, read by the rule of DICOM PS3.3 C.10.5.1.2."""

from itertools import pairwise

import numpy as np
import pytest
from dicom_films import lungs
from drawn_back import edge, farthest, filled, walked
from numpy.typing import NDArray

from adaloraqat.dicom_out.presentation import MOST_POINTS, contours, pieces


def frame() -> NDArray[np.bool_]:
    mask = np.ones((20, 30), bool)
    mask[5:9, 6:20] = False  # a hole
    mask[12:15, 3:5] = False
    mask[13, 3] = True  # a part in a hole, joined to the rest by its side
    return mask


MASKS = {
    "lungs with a hole": lungs(),
    "touches all four borders, with holes": frame(),
    "the whole film": np.ones((17, 23), bool),
    "one pixel": np.eye(1, 25, 7, dtype=bool).reshape(5, 5),
    "corner pixels": np.pad(np.zeros((6, 7), bool), 1)
    | np.outer([1, *[0] * 6, 1], [1, *[0] * 7, 1]).astype(bool),
    "checkers": np.indices((9, 11)).sum(axis=0) % 2 == 0,
    "noise": np.random.default_rng(0).random((40, 31)) > 0.5,
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_an_outline_is_the_edge_of_the_mask(mask: NDArray[np.bool_]) -> None:
    lines = contours(mask)
    assert all((line[0] == line[-1]).all() for line in lines)
    assert all(line.min() >= 0 and line[:, 0].max() <= mask.shape[1] for line in lines)
    drawn, wanted = walked(lines), edge(mask)
    assert farthest(drawn, wanted) <= 0.5
    assert farthest(wanted, drawn) <= 0.5
    np.testing.assert_array_equal(filled(lines, mask.shape), mask)


def test_the_origin_is_the_outer_corner_of_the_first_pixel() -> None:
    mask = np.zeros((4, 6), bool)
    mask[:2, :3] = True
    [line] = contours(mask)
    assert line.min(axis=0).tolist() == [0, 0]
    assert line.max(axis=0).tolist() == [3, 2]


def test_straight_lines_have_two_points() -> None:
    [line] = contours(np.ones((500, 700), bool))
    assert len(line) == 9  # two points a corner, and the first again


def test_nothing_outlined() -> None:
    assert contours(np.zeros((20, 20), bool)) == []


@pytest.mark.parametrize("points", [2, MOST_POINTS, MOST_POINTS + 1, 2 * MOST_POINTS - 1, 20_000])
def test_a_long_line_is_cut_without_a_gap(points: int) -> None:
    line = np.random.default_rng(3).random((points, 2))
    parts = pieces(line)
    assert all(2 <= len(part) <= MOST_POINTS for part in parts)
    joined = np.concatenate([parts[0], *(part[1:] for part in parts[1:])])
    np.testing.assert_array_equal(joined, line)
    assert all((one[-1] == other[0]).all() for one, other in pairwise(parts))
