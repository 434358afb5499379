import numpy as np
import pytest

from adaloraqat.bundle.segmentation import MIRRORED, structures_of
from adaloraqat.radiograph import Frame

FRAME = Frame.of((64, 64), 32)


def plane(left: int, right: int, top: int = 4, bottom: int = 28) -> np.ndarray:
    logits = np.full((32, 32), -4, np.float32)
    logits[top:bottom, left:right] = 4
    return logits


ANSWER = np.stack([plane(3, 12), plane(20, 29), plane(12, 20, 16, 28)])
MASK = np.zeros((64, 64), bool)
MASK[8:56, 6:24] = MASK[8:56, 40:58] = True


def sides(right_edge: str | None, mirrored: float = 0.1) -> tuple[float, float, bool, str, list[str]]:
    """Return the middle columns of right and left lung, whether sides are certain, whence, and warnings."""
    found, warnings = structures_of(MASK, ANSWER, mirrored, FRAME, right_edge, 0.5)
    right, left = (float(np.nonzero(mask)[1].mean()) for mask in (found.right, found.left))
    return right, left, found.sides_certain, found.sides_from, warnings


def test_the_standard_view_has_the_right_lung_at_the_left_of_the_image() -> None:
    right, left, certain, source, warnings = sides(None)
    assert right < 32 < left
    assert (certain, source, warnings) == (True, "standard view", [])


def test_the_header_decides_where_it_speaks() -> None:
    right, left, certain, source, warnings = sides("L")
    assert right < 32 < left
    assert (certain, source, warnings) == (True, "header", [])
    # the header says that the image is turned, and the heart lies where such a film shows it
    right, left, certain, source, warnings = sides("R", mirrored=0.9)
    assert left < 32 < right
    assert (certain, source, warnings) == (True, "header", [])


@pytest.mark.parametrize(("right_edge", "mirrored"), [(None, 0.9), ("L", 0.9), ("R", 0.1)])
def test_a_heart_on_the_other_side_is_told_and_nothing_is_relabelled(
    right_edge: str | None, mirrored: float
) -> None:
    usual = sides(right_edge, 1 - mirrored)
    found = sides(right_edge, mirrored)
    assert found[:2] == usual[:2]
    assert found[2] is False
    assert found[4] == [MIRRORED]


@pytest.mark.parametrize("right_edge", ["F", "H", "A", "P"])
def test_a_header_of_another_view_leaves_the_sides_uncertain(right_edge: str) -> None:
    found, warnings = structures_of(MASK, ANSWER, 0.1, FRAME, right_edge)
    assert (found.sides_certain, found.standard_view, found.sides_from) == (False, False, "standard view")
    assert warnings == []


def test_every_pixel_of_the_mask_has_one_side() -> None:
    found, _ = structures_of(MASK, ANSWER, 0.1, FRAME)
    assert np.array_equal(found.right | found.left, MASK)
    assert not (found.right & found.left).any()


def test_labels_and_one_connected_heart() -> None:
    answer = ANSWER.copy()
    answer[2, 2:4, 2:4] = 4  # a speck that the head takes for heart
    found, _ = structures_of(MASK, answer, 0.1, FRAME)
    assert found.heart[44, 32]
    assert not found.heart[5, 5]
    assert [int(found.labels[at]) for at in ((30, 12), (30, 50), (44, 32), (2, 2))] == [1, 2, 3, 0]
