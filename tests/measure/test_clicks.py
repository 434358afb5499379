import numpy as np

from adaloraqat.measure.clicks import Click, next_click

TRUTH = np.zeros((40, 60), bool)
TRUTH[5:36, 4:25] = True  # 31 x 21, its middle column is 14
TRUTH[10:30, 40:50] = True


def test_the_first_click_lies_farthest_inside_the_largest_part_of_the_truth() -> None:
    click = next_click(np.zeros_like(TRUTH), TRUTH)
    assert click == Click(14, 15, 1)  # eleven pixels from either side; the first of such rows


def test_the_next_one_lies_where_the_mask_is_most_wrong_and_says_how() -> None:
    missing_a_part = TRUTH.copy()
    missing_a_part[10:30, 40:50] = False
    missing_a_part[0:3, 0:60] = True  # 180 pixels too much, 200 too few
    x, y, label = next_click(missing_a_part, TRUTH)
    assert label == 1
    assert 43 <= x <= 46
    assert 14 <= y <= 25
    too_much = missing_a_part
    too_much[0:4, 0:60] = True  # 240 too much
    x, y, label = next_click(too_much, TRUTH)
    assert label == 0
    assert y in (1, 2)


def test_missing_and_superfluous_pixels_that_touch_are_two_regions() -> None:
    shifted = np.zeros_like(TRUTH)
    shifted[5:36, 9:30] = TRUTH[5:36, 4:25]  # five columns too few on the left, five too many on the right
    shifted[10:30, 40:50] = True
    click = next_click(shifted, TRUTH)
    assert click.label == 1  # of equal regions the missing one
    assert click.x == 6


def test_a_right_mask_needs_no_click() -> None:
    assert next_click(TRUTH, TRUTH) is None
    assert next_click(np.zeros_like(TRUTH), np.zeros_like(TRUTH)) is None


def test_the_edge_of_the_film_bounds_a_region() -> None:
    whole = np.ones((20, 30), bool)
    click = next_click(np.zeros_like(whole), whole)
    assert (click.y, click.label) == (9, 1)
    assert 9 <= click.x <= 20
