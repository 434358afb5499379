"""Right lung, left lung and heart of one film, by the head that a bundle may have beside its decoder.

The mask stays the decoder's: the head says which side each of its pixels belongs to, and where the heart
lies. Sides follow Patient Orientation where the header gives it, else the standard view, in which the image's
left shows the patient's right. A film whose heart lies on the other side is never relabelled: it may be
mirrored, or the heart may lie on the right; its sides are marked uncertain, and a warning says so.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.components import remove_small_components
from adaloraqat.bundle.format import MIRRORED_LIMIT
from adaloraqat.radiograph.masks import HEART, LEFT_LUNG, RIGHT_LUNG
from adaloraqat.radiograph.preprocess import Frame

HEADER, STANDARD_VIEW = "header", "standard view"
MIRRORED = (
    "mirrored-or-dextrocardia: the heart appears on the patient's right; the film may be mirrored, so do "
    "not rely on right and left."
)


@dataclass(frozen=True)
class Structures:
    """Lungs and heart of one film, on its own grid.

    Attributes:
        right: (H, W) bool, the patient's right lung; with `left` it makes the film's mask.
        left: (H, W) bool.
        heart: (H, W) bool, the whole heart; of models that outline the whole lung it overlaps the lungs.
        lungs: (H, W) bool, both lungs as the head alone sees them: where they differ from the mask, doubt it.
        sides_from: "header" (Patient Orientation) or "standard view" (the image's left is the patient's
            right).
        mirrored: probability in [0, 1] that the heart lies on the patient's right.
        sides_certain: whether right and left can be relied on.
    """

    right: NDArray[np.bool_] = field(repr=False)
    left: NDArray[np.bool_] = field(repr=False)
    heart: NDArray[np.bool_] = field(repr=False)
    lungs: NDArray[np.bool_] = field(repr=False)
    sides_from: str
    mirrored: float
    sides_certain: bool

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(H, W) uint8: 0 none, 1 right lung, 2 left lung, 3 heart, which covers the lungs behind it."""
        labels = np.zeros(self.right.shape, np.uint8)
        labels[self.right], labels[self.left], labels[self.heart] = RIGHT_LUNG, LEFT_LUNG, HEART
        return labels


def structures_of(
    mask: NDArray[np.bool_],
    answer: NDArray[np.float32],
    mirrored: float,
    frame: Frame,
    right_edge: str | None = None,
    limit: float = MIRRORED_LIMIT,
) -> tuple[Structures, list[str]]:
    """Return the structures of a film, and the warnings that they raise.

    Args:
        mask: (H, W), the film's mask.
        answer: (3, n, n) logits over the model's square: the lung at the image's left, the other, the heart.
        mirrored: probability that the film is a mirror image of the standard view.
        frame: where the film lies on the square.
        right_edge: the patient's side that the header says is at the image's right: "L" or "R"; None:
            unknown.
        limit: of `mirrored`, chosen when the head was trained.
    """
    at_left, at_right, heart = (frame.logits_to_original(plane) for plane in _with_one_heart(answer))
    image_left = mask & (at_left >= at_right)
    image_right = mask & ~image_left
    turned = right_edge == "R"  # the header says that the image's left shows the patient's left
    against = 1 - mirrored if turned else mirrored
    warnings = [MIRRORED] if against >= limit else []
    right, left = (image_right, image_left) if turned else (image_left, image_right)
    source = STANDARD_VIEW if right_edge is None else HEADER
    lungs = np.maximum(at_left, at_right) > 0
    return Structures(right, left, heart > 0, lungs, source, against, not warnings), warnings


def _with_one_heart(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits with one connected heart, without holes."""
    return np.stack([answer[0], answer[1], remove_small_components(answer[2], 1.0)])
