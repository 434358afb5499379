"""The answer for one film: its mask, where that comes from, what makes it doubtful, and its structures.

Right lung, left lung and heart come from the head that a bundle may have beside its decoder. The mask stays
the decoder's: the head says which side each of its pixels belongs to, and where the heart lies. Sides follow
Patient Orientation where the header gives it, else the standard view, in which the image's left shows the
patient's right. A film whose heart lies on the other side is never relabelled: it may be mirrored, or the
heart may lie on the right; its sides are marked uncertain, and a warning says so.
"""

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.components import remove_small_components
from adaloraqat.bundle.format import MIRRORED_LIMIT
from adaloraqat.errors import OutputError
from adaloraqat.radiograph.geometry import Box
from adaloraqat.radiograph.masks import HEART, LEFT_LUNG, RIGHT_LUNG, write_mask
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
        standard_view: whether nothing says that this is another view than an upright frontal one; of another
            neither sides nor ratios mean anything.
    """

    right: NDArray[np.bool_] = field(repr=False)
    left: NDArray[np.bool_] = field(repr=False)
    heart: NDArray[np.bool_] = field(repr=False)
    lungs: NDArray[np.bool_] = field(repr=False)
    sides_from: str
    mirrored: float
    sides_certain: bool
    standard_view: bool = True

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(H, W) uint8: 0 none, 1 right lung, 2 left lung, 3 heart, which covers the lungs behind it."""
        labels = np.zeros(self.right.shape, np.uint8)
        labels[self.right], labels[self.left], labels[self.heart] = RIGHT_LUNG, LEFT_LUNG, HEART
        return labels


@dataclass(frozen=True)
class Segmentation:
    """The lungs of one film, on its own grid.

    Attributes:
        mask: (H, W) bool.
        probability: (H, W) float32 in [0, 1]; the mask is where it exceeds one half.
        box: the prompt that gave the mask, pixels of the film, right and bottom exclusive; of several
            prompts the box around all of them.
        box_source: "given", "whole film", "second pass" (the box of the first mask's two largest
            components), "proposed" (by the model `proposer`), or, of a mask that was asked for without a
            box, "points" or "mask"; `box` is then the whole film.
        quality: in [0, 1], the expected Dice where `quality_error` is given, else the predicted IoU; None
            where the model knows neither.
        spacing_mm: (row, column) distance of pixels in mm, None where the film does not tell.
        warnings: what makes the result doubtful, "code: sentence" each.
        notices: what reading the film took note of.
        milliseconds: wall time from the film (its file, where one was given) to the mask.
    """

    mask: NDArray[np.bool_] = field(repr=False)
    probability: NDArray[np.float32] = field(repr=False)
    box: Box
    box_source: str
    quality: float | None
    spacing_mm: tuple[float, float] | None
    warnings: list[str]
    notices: tuple[str, ...]
    milliseconds: float
    prompts: tuple[Box, ...] = ()
    """All boxes that gave the mask; with several it is the union of what each encloses."""
    proposer: str | None = None
    """The model that proposed the prompts, None where none did."""
    points: tuple[tuple[float, float, int], ...] = ()
    """(x, y, label) of the points that gave the mask, pixels of the film; label 1 on it, 0 off it."""
    logits: NDArray[np.float32] | None = field(default=None, repr=False)
    """(n, n) over the model's square, the answer itself: a mask prompt for the next call (`mask=`)."""
    structures: Structures | None = None
    """Right lung, left lung and heart, of a model that tells them apart, where no prompt chose something
    else.
    """
    quality_error: float | None = None
    """Standard deviation of the true Dice about the expected one; None where `quality` is no expected Dice.
    """
    predicted_iou: float | None = None
    """What the network predicts of its own overlap; None where it was not trained to."""
    embedding_mean: NDArray[np.float64] | None = field(default=None, repr=False)
    """(D,) mean over the grid of the film's embedding: by it a calibration knows films like others."""

    @property
    def area_px(self) -> int:
        """Pixels in the mask."""
        return int(np.count_nonzero(self.mask))

    @property
    def area_mm2(self) -> float | None:
        """Area of the mask in mm^2 (in the detector's plane, as DICOM gives it); None without spacing."""
        if self.spacing_mm is None:
            return None
        return self.area_px * self.spacing_mm[0] * self.spacing_mm[1]

    def to_dict(self) -> dict[str, Any]:
        """Return all but the pixels, as JSON has it: `width` and `height` (px), and the numbers rounded."""
        height, width = self.mask.shape
        area = self.area_mm2
        return {
            "width": width,
            "height": height,
            "box": [round(side, 2) for side in self.box],
            "box_source": self.box_source,
            "prompts": [[round(side, 2) for side in box] for box in self.prompts],
            "proposer": self.proposer,
            **({"points": [list(point) for point in self.points]} if self.points else {}),
            "quality": None if self.quality is None else round(self.quality, 4),
            "quality_error": None if self.quality_error is None else round(self.quality_error, 4),
            "area_px": self.area_px,
            "area_mm2": None if area is None else round(area, 2),
            "spacing_mm": self.spacing_mm,
            "milliseconds": round(self.milliseconds, 2),
            "warnings": tuple(self.warnings),
            "notices": self.notices,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the mask as an 8-bit PNG of 0 and 255, on the film's own grid, atomically.

        Raises:
            OutputError: the name does not end in .png, or the file cannot be written.
        """
        if not os.fspath(path).lower().endswith(".png"):
            raise OutputError("A mask is saved as PNG: give a file name that ends in .png.")
        write_mask(path, self.mask)


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
        right_edge: the direction of the patient that the header says is at the image's right (`Told`); None:
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
    source = HEADER if right_edge in ("L", "R") else STANDARD_VIEW
    standard_view = right_edge in (None, "L", "R")
    lungs = np.maximum(at_left, at_right) > 0
    certain = standard_view and not warnings
    return Structures(right, left, heart > 0, lungs, source, against, certain, standard_view), warnings


def _with_one_heart(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits with one connected heart, without holes."""
    return np.stack([answer[0], answer[1], remove_small_components(answer[2], 1.0)])
