import math

import numpy as np
import pytest

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import Box


def test_the_box_around_a_mask_is_tight_and_exclusive() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5, 3] = mask[9, 11] = True
    assert Box.around(mask) == (3, 5, 12, 10)
    assert Box.around(np.ones((20, 30))) == Box.whole((20, 30)) == (0, 0, 30, 20)


def test_an_empty_mask_has_no_box() -> None:
    with pytest.raises(FilmError, match="empty mask"):
        Box.around(np.zeros((4, 4)))


def test_a_box_is_clipped_to_the_film() -> None:
    assert Box(-5, 2.5, 50, 10).checked((20, 30)) == (0, 2.5, 30, 10)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((10, 0, 5, 5), "inverted"),
        ((3, 3, 3, 8), "inverted or empty"),
        ((30, 0, 40, 5), "outside the film of 30 x 20"),
        ((-9, -9, 0, 5), "outside"),
        ((math.nan, 0, 5, 5), "finite"),
        ((0, 0, math.inf, 5), "finite"),
    ],
)
def test_an_unusable_box_is_refused(box: tuple[float, float, float, float], words: str) -> None:
    with pytest.raises(FilmError, match=words):
        Box(*box).checked((20, 30))
