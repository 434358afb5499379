"""Overlap of two masks on one pixel grid: TP, FP, FN, TN, and Dice and IoU from them.

Dice and IoU are undefined where neither mask has a pixel (0 / 0). Here such a pair agrees perfectly and
scores 1.0; where exactly one mask is empty the score is 0.0, the worst, so that a failed case never flatters
a mean. The counts are kept beside the scores, so a reader can always tell the two apart.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.errors import FilmError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Confusion:
    """Pixel counts of a prediction against the truth, in pixels of their common grid."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN), in [0, 1]; 1.0 where both masks are empty."""
        both = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / both if both else 1.0

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN), in [0, 1]; 1.0 where both masks are empty."""
        union = self.true_positive + self.false_positive + self.false_negative
        return self.true_positive / union if union else 1.0

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN), in [0, 1]. Without true pixels: 1.0 if none is predicted either, else 0.0."""
        true = self.true_positive + self.false_negative
        return self.true_positive / true if true else float(self.false_positive == 0)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP), in [0, 1]; 1.0 where the truth fills the film: no pixel can be wrong there."""
        background = self.true_negative + self.false_positive
        return self.true_negative / background if background else 1.0


def confusion(prediction: Mask, truth: Mask) -> Confusion:
    """Count the pixels of `prediction` (H, W) bool against `truth` (H, W) bool.

    Raises:
        FilmError: a mask is not two-dimensional bool, or the two differ in shape.

    """
    check_pair(prediction, truth)
    overlap = int(np.count_nonzero(prediction & truth))
    predicted, true = int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))
    return Confusion(
        true_positive=overlap,
        false_positive=predicted - overlap,
        false_negative=true - overlap,
        true_negative=truth.size - predicted - true + overlap,
    )


def dice(prediction: Mask, truth: Mask) -> float:
    """Dice coefficient of two (H, W) bool masks, in [0, 1].

    Both empty: 1.0; exactly one empty: 0.0.

    >>> dice(np.array([[True, True, False]]), np.array([[False, True, True]]))
    0.5

    Raises:
        FilmError: a mask is not two-dimensional bool, or the two differ in shape.

    """
    return confusion(prediction, truth).dice


def iou(prediction: Mask, truth: Mask) -> float:
    """Intersection over union (Jaccard) of two (H, W) bool masks, in [0, 1].

    Both empty: 1.0; exactly one empty: 0.0.

    Raises:
        FilmError: a mask is not two-dimensional bool, or the two differ in shape.

    """
    return confusion(prediction, truth).iou


def check_pair(prediction: Any, truth: Any) -> None:
    """Refuse what is not a pair of (H, W) bool masks on one grid.

    Raises:
        FilmError: it is not.

    """
    for role, mask in (("predicted", prediction), ("true", truth)):
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2:
            raise FilmError(
                f"The {role} mask is not a two-dimensional array of booleans: "
                "threshold it to (H, W) bool first."
            )
    if prediction.shape != truth.shape:
        raise FilmError(
            f"The predicted mask is {_size(prediction)} pixels but the true mask is {_size(truth)}: "
            "bring both to the film's own grid before comparing them."
        )


def _size(mask: Mask) -> str:
    return f"{mask.shape[1]}×{mask.shape[0]}"
