"""What can be wrong with a mask and with a label file, and the facts that tell mask conventions apart."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.components import connected_components
from adaloraqat.bundle.plausibility import FILM_CODES, plausibility_warnings
from adaloraqat.radiograph import HEART, LEFT_LUNG, RIGHT_LUNG, Box
from adaloraqat.radiograph.film import size_text

Finding = tuple[str, str]  # kind, sentence

_LABELS_AGREE = 0.9  # IoU of the labelled lungs with the mask; those of one annotation reach 0.98 and more
# of the lungs' area: less is what lungs drawn behind the heart leave of it, which tells no side; of 240 whole
# hearts (JSRT) the least has 0.18, and all lie towards the image's right
_WHOLE_HEART = 0.165
_THIN = 128
_SPECK = 0.05  # of the mask


@dataclass(frozen=True)
class MaskFacts:
    """The shape of one mask, by which mask conventions differ.

    `area` is its share of the film; `right_over_left` the area of the part at the image's left over that at
    the image's right; `gap` the mean distance between the two parts in the lowest third of their common
    height, over the width of the mask's box: it is wide where the heart is left out. Both are None where the
    mask has not two parts.
    """

    area: float
    right_over_left: float | None
    gap: float | None


def mask_findings(
    pixels: NDArray[np.float32], mask: NDArray[np.bool_], lungs: bool, may_be_empty: bool = False
) -> list[Finding]:
    """Return what is wrong with a (H, W) mask of a (H, W) film.

    `lungs`: it should outline both lungs. `may_be_empty`: it outlines what not every film has.
    """
    if mask.shape != pixels.shape:
        return _other_size(pixels.shape, mask)
    if not mask.any() and may_be_empty:
        return []
    if not mask.any():
        return [("mask-empty", "The mask is empty: draw it, or remove its row.")]
    if mask.all():
        return [
            ("mask-full", "The mask covers the whole film: check whether it was inverted or saved wrongly.")
        ]
    if not lungs:
        return []
    return [(f"mask-{code}", said) for code, said in doubted(pixels, mask) if code not in FILM_CODES]


def doubted(pixels: NDArray[np.float32], mask: NDArray[np.bool_]) -> list[Finding]:
    """Return what the rules that judge a model's masks say of a reference mask (H, W) and its film (H, W)."""
    texts = (text.partition(": ") for text in plausibility_warnings(pixels, mask, mask.astype(np.float32)))
    return [(code, f"{sentence[:1].upper()}{sentence[1:]}") for code, _, sentence in texts]


def label_findings(labels: NDArray[np.uint8], mask: NDArray[np.bool_] | None, lungs: bool) -> list[Finding]:
    """Return what is wrong with (H, W) labels: 1 right lung (at the image's left), 2 left lung, 3 heart."""
    right, left, heart = (_middle(labels == value) for value in (RIGHT_LUNG, LEFT_LUNG, HEART))
    if right is None or left is None:
        return [("labels-one-sided", "The label file lacks the right lung (1) or the left lung (2).")]
    found = []
    swapped = right > left
    if swapped:
        found.append(
            (
                "left-right-swapped",
                "The right lung (1) is on the image's right and the left lung (2) on its left: the labels "
                "are swapped, or the film is mirrored.",
            )
        )
    whole_heart = (labels == HEART).sum() >= _WHOLE_HEART * np.isin(labels, (RIGHT_LUNG, LEFT_LUNG)).sum()
    if heart is not None and whole_heart and heart < (right + left) / 2:
        found.append(
            (
                "mirrored",
                "The heart is on the image's left: the film is mirrored, or the patient has dextrocardia.",
            )
        )
    both = np.isin(labels, (RIGHT_LUNG, LEFT_LUNG))
    if lungs and mask is not None and mask.shape == both.shape and mask.any():
        iou = float((both & mask).sum()) / float((both | mask).sum())
        if iou < _LABELS_AGREE:
            found.append(
                ("labels-mask-disagree", f"Labelled lungs and mask overlap by only {iou:.2f} (IoU).")
            )
    return found


def mask_facts(mask: NDArray[np.bool_]) -> MaskFacts:
    """Return the shape of one (H, W) mask in numbers."""
    step = max(1, -(-max(mask.shape) // _THIN))
    thin = mask[::step, ::step]
    components = [
        component for component in connected_components(thin) if component.area >= _SPECK * thin.sum()
    ]
    area = float(mask.mean())
    if len(components) != 2:
        return MaskFacts(area, None, None)
    first, second = sorted(components, key=lambda component: component.centre[0])
    return MaskFacts(area, first.area / second.area, _gap(thin, first.box, second.box))


def _gap(mask: NDArray[np.bool_], first: Any, second: Any) -> float | None:
    """Return the mean empty run between the outermost pixels' two halves in the lowest common third."""
    top, bottom = int(max(first[1], second[1])), int(min(first[3], second[3]))
    start = bottom - max(1, (bottom - top) // 3)
    middle = int((min(first[2], second[2]) + max(first[0], second[0])) / 2)
    gaps = []
    for row in mask[max(start, 0) : bottom]:
        before, after = np.flatnonzero(row[:middle]), np.flatnonzero(row[middle:])
        if before.size and after.size:
            gaps.append(middle - int(before[-1]) - 1 + int(after[0]))
    columns = np.flatnonzero(mask.any(axis=0))
    return float(np.mean(gaps)) / float(columns[-1] - columns[0] + 1) if gaps else None


def _other_size(shape: tuple[int, ...], mask: NDArray[np.bool_]) -> list[Finding]:
    sizes = f"the mask has {size_text(mask.shape)} pixels and its film {size_text(shape)}"
    found = [("mask-size", f"{sizes[:1].upper()}{sizes[1:]}: give a mask on the film's own grid.")]
    if mask.any():
        box = Box.around(mask)
        if box.x_max > shape[1] or box.y_max > shape[0]:
            found.append(("mask-outside", f"The mask reaches beyond its film: {sizes}."))
    return found


def _middle(where: NDArray[np.bool_]) -> float | None:
    """Return the mean column of the set pixels."""
    columns = where.sum(axis=0)
    total = int(columns.sum())
    return float((columns * np.arange(len(columns))).sum() / total) if total else None
