"""Each measure on shapes whose numbers can be counted by hand."""

import numpy as np
import pytest

from adaloraqat.batch.csv_files import MEASURES_COLUMNS
from adaloraqat.bundle.segmentation import Segmentation, Structures
from adaloraqat.measure.clinical import (
    cardiothoracic_ratio,
    clinical_measures,
    lung_area,
    lung_areas,
    lung_ratio,
)
from adaloraqat.radiograph import Box

SHAPE = (20, 40)


def block(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


RIGHT, LEFT, HEART = block(2, 18, 4, 14), block(2, 18, 24, 34), block(10, 18, 15, 24)


def test_the_ratio_of_blocks() -> None:
    # heart: columns 15 to 23, 9 wide; chest: columns 4 to 33, 30 wide
    assert cardiothoracic_ratio(HEART, RIGHT | LEFT) == pytest.approx(9 / 30)


def test_the_chest_is_measured_within_one_row() -> None:
    # the lungs reach columns 2 and 37, but in different rows: no row is wider than 32 (4 to 35, or 2 to 33)
    lungs = RIGHT | LEFT | block(3, 4, 2, 14) | block(8, 9, 24, 36)
    assert cardiothoracic_ratio(HEART, lungs) == pytest.approx(9 / 32)


def test_the_heart_is_measured_over_all_rows() -> None:
    # 4 wide above and 4 wide below, but from column 13 to 24 together: the sum of its greatest extents
    heart = block(5, 8, 13, 17) | block(8, 12, 16, 22) | block(12, 15, 21, 25)
    assert cardiothoracic_ratio(heart, RIGHT | LEFT) == pytest.approx(12 / 30)


@pytest.mark.parametrize("lung", [RIGHT, LEFT, RIGHT | block(2, 18, 5, 7)])
def test_one_lung_alone_is_no_chest(lung: np.ndarray) -> None:
    assert cardiothoracic_ratio(HEART, lung) is None


def test_lungs_that_share_no_row_are_no_chest() -> None:
    assert cardiothoracic_ratio(HEART, block(2, 8, 4, 14) | block(9, 18, 24, 34)) is None


@pytest.mark.parametrize(
    ("heart", "lungs"), [(HEART & False, RIGHT), (HEART, RIGHT & False), (block(0, 20, 0, 40), RIGHT)]
)
def test_no_ratio_without_structures(heart: np.ndarray, lungs: np.ndarray) -> None:
    assert cardiothoracic_ratio(heart, lungs) is None


def test_areas_and_their_ratio() -> None:
    left = block(2, 10, 24, 34)
    assert lung_area(RIGHT, (0.5, 0.2)) == {"area_px": 160, "area_mm2": 16.0, "area_cm2": 0.16}
    assert lung_area(left, (0.5, 0.2)) == {"area_px": 80, "area_mm2": 8.0, "area_cm2": 0.08}
    assert lung_ratio(RIGHT, left) == 2.0


def test_no_area_in_mm_without_spacing_and_no_ratio_without_a_lung() -> None:
    assert lung_area(RIGHT, None) == {"area_px": 160, "area_mm2": None, "area_cm2": None}
    assert lung_ratio(RIGHT, RIGHT & False) is None


def test_the_name_of_before_gives_both_areas_and_their_ratio() -> None:
    with pytest.warns(DeprecationWarning, match="lung_area and lung_ratio"):
        found = lung_areas(RIGHT, LEFT & False, None)
    assert found == {
        "right_lung": {"area_px": 160, "area_mm2": None, "area_cm2": None},
        "left_lung": {"area_px": 0, "area_mm2": None, "area_cm2": None},
        "lung_ratio": None,
    }


def _result(structures: Structures | None) -> Segmentation:
    lungs = RIGHT | LEFT
    return Segmentation(
        mask=lungs,
        probability=lungs.astype(np.float32),
        box=Box(0, 0, 40, 20),
        box_source="whole film",
        quality=None,
        spacing_mm=None,
        warnings=[],
        notices=(),
        milliseconds=1.0,
        structures=structures,
    )


def test_all_measures_of_a_film() -> None:
    structures = Structures(RIGHT, LEFT, HEART, RIGHT | LEFT, "header", 0.1, True)
    found = clinical_measures(_result(structures))
    assert found is not None
    assert found["cardiothoracic_ratio"] == 0.3
    assert (found["lung_ratio"], found["heart_area_px"]) == (1.0, 72)
    assert (found["sides_from"], found["sides_certain"]) == ("header", True)


def test_another_view_has_areas_and_no_ratio() -> None:
    structures = Structures(RIGHT, LEFT, HEART, RIGHT | LEFT, "header", 0.1, False, standard_view=False)
    found = clinical_measures(_result(structures))
    assert found is not None
    assert found["right_lung"]["area_px"] == 160
    assert (found["cardiothoracic_ratio"], found["lung_ratio"], found["sides_certain"]) == (None, None, False)


def test_a_model_without_structures_measures_nothing() -> None:
    assert clinical_measures(_result(None)) is None


def test_the_ratio_is_given_to_four_digits() -> None:
    left = block(2, 18, 24, 35)  # a chest of 31 columns
    found = clinical_measures(_result(Structures(RIGHT, left, HEART, RIGHT | left, "header", 0.1, True)))
    assert found is not None
    assert found["cardiothoracic_ratio"] == 0.2903  # 9 / 31 = 0.29032


def test_the_ratio_of_the_lungs_is_given_to_four_digits() -> None:
    thirds = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    thirds[0][0, :2], thirds[1][1, :3] = True, True
    assert lung_ratio(*thirds) == 0.6667


def test_measures_stand_in_the_order_of_the_documents_and_have_columns_in_measures_csv() -> None:
    found = clinical_measures(_result(Structures(RIGHT, LEFT, HEART, RIGHT | LEFT, "header", 0.1, True)))
    assert found is not None
    assert list(found) == [
        "cardiothoracic_ratio", "right_lung", "left_lung", "lung_ratio", "heart_area_px",
        "sides_from", "sides_certain",
    ]  # fmt: skip
    assert MEASURES_COLUMNS[1:6] == (
        "cardiothoracic_ratio", "lung_ratio", "heart_area_px", "sides_from", "sides_certain",
    )  # fmt: skip
