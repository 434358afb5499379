"""Every measure of one film: a saved mask against the truth, on the film's own grid.

Distances are in mm where the pixel spacing is known, else in pixels of the film; `unit` says which. Empty
masks and failures are defined so that nothing flatters a mean:

- both masks empty: they agree perfectly, every measure is at its best;
- exactly one empty: the worst of every overlap, outline and similarity measure (0, −1 of SSIM, or the film's
  diagonal);
- no mask, because the model failed (`worst_scores`): the worst of every measure, and no pixel counts.

Each lung is scored by itself too: `split_sides` says which pixel belongs to which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.errors import FilmError
from adaloraqat.measure.overlap import Confusion, Mask, confusion
from adaloraqat.measure.similarity import ssim
from adaloraqat.measure.surface import Spacing, check_spacing, diagonal, surface_distances
from adaloraqat.radiograph import LEFT_LUNG, RIGHT_LUNG

DEFAULT_TOLERANCES = (2.0, 5.0)
"""NSD tolerances, in the film's unit: about the disagreement of two readers, and a coarse fault."""

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "dice": True,
    "iou": True,
    "nsd": True,
    "hd95": False,
    "assd": False,
    "ssim": True,
    "sensitivity": True,
    "specificity": True,
}
"""By measure; "nsd" stands for every `nsd_<tolerance>` and each name for its `right_`/`left_` too."""

WORST_SSIM = -1.0
"""Of a mask that is everywhere the opposite of the truth's texture; 0 would be better than such a mask."""

RIGHT, LEFT = "right", "left"
LABELS = {RIGHT: RIGHT_LUNG, LEFT: LEFT_LUNG}
"""Values in a label picture; the right lung lies at the image's left."""

COUNTS = ("tp", "fp", "fn", "tn")
SIDES = (RIGHT, LEFT)
_LABELS = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95": "HD95",
    "assd": "ASSD",
    "ssim": "SSIM",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}
_UNITLESS = ("dice", "iou", "ssim", "sensitivity", "specificity")


@dataclass(frozen=True)
class RegionScores:
    """The measures that a whole film and each single lung have.

    `nsd` holds (tolerance, value) pairs; `hd95` and `assd` are in the film's unit, all else in [0, 1].
    """

    dice: float
    iou: float
    nsd: tuple[tuple[float, float], ...]
    hd95: float
    assd: float
    sensitivity: float

    def to_dict(self) -> dict[str, float]:
        """Return plain values; NSD as `nsd_<tolerance>`."""
        return {
            "dice": self.dice,
            "iou": self.iou,
            **{nsd_key(tolerance): value for tolerance, value in self.nsd},
            "hd95": self.hd95,
            "assd": self.assd,
            "sensitivity": self.sensitivity,
        }


@dataclass(frozen=True)
class FilmScores:
    """Every measure of one prediction on one film.

    Attributes:
        whole: the measures of both lungs together.
        ssim: structural similarity of the masks, from -1 to 1.
        specificity: in [0, 1].
        counts: TP, FP, FN, TN in pixels; None where the model failed.
        unit: "mm" or "px", of the distances and of the NSD's tolerances.
        right, left: the lungs apart, None without labels.
    """

    whole: RegionScores
    ssim: float
    specificity: float
    counts: Confusion | None
    unit: str
    right: RegionScores | None = None
    left: RegionScores | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return one flat row: whole-film measures, counts, unit, then `right_…` and `left_…` (or None)."""
        whole, counts = self.whole.to_dict(), self.counts
        row: dict[str, Any] = {key: value for key, value in whole.items() if key != "sensitivity"}
        row |= {
            "ssim": self.ssim,
            "sensitivity": self.whole.sensitivity,
            "specificity": self.specificity,
            "tp": counts.true_positive if counts else None,
            "fp": counts.false_positive if counts else None,
            "fn": counts.false_negative if counts else None,
            "tn": counts.true_negative if counts else None,
            "unit": self.unit,
        }
        for side, region in ((RIGHT, self.right), (LEFT, self.left)):
            values = region.to_dict() if region else dict.fromkeys(whole)
            row |= {f"{side}_{key}": value for key, value in values.items()}
        return row


def score_film(
    prediction: Mask,
    truth: Mask,
    spacing_mm: Spacing | None = None,
    labels: NDArray[np.uint8] | None = None,
    tolerances: Sequence[float] = DEFAULT_TOLERANCES,
) -> FilmScores:
    """Score a prediction (H, W) bool against the truth (H, W) bool, both on the film's own grid.

    Args:
        prediction: (H, W) bool.
        truth: (H, W) bool.
        spacing_mm: (row, column) in mm a pixel; None measures in pixels.
        labels: (H, W) with 1 right lung, 2 left lung, to score the lungs apart; see `sides.split_sides`.
        tolerances: of the NSD, in mm where the spacing is known, else in pixels.

    Raises:
        FilmError: masks, labels or spacing do not fit together, or a tolerance is negative.

    """
    spacing, unit = _spacing(spacing_mm)
    check_tolerances(tolerances)
    counts = confusion(prediction, truth)
    one_empty = bool(prediction.any()) != bool(truth.any())
    sides: dict[str, RegionScores | None] = dict.fromkeys(SIDES)
    if labels is not None:
        predicted, true = split_sides(prediction, labels, spacing), split_sides(truth, labels, spacing)
        for side in SIDES:
            mine, wanted = predicted[side], true[side]
            if mine is not None and wanted is not None:
                sides[side] = _region(mine, wanted, confusion(mine, wanted), spacing, tolerances)
    return FilmScores(
        whole=_region(prediction, truth, counts, spacing, tolerances),
        ssim=WORST_SSIM if one_empty else ssim(prediction, truth),
        specificity=counts.specificity,
        counts=counts,
        unit=unit,
        right=sides[RIGHT],
        left=sides[LEFT],
    )


def worst_scores(
    shape: tuple[int, ...],
    spacing_mm: Spacing | None = None,
    tolerances: Sequence[float] = DEFAULT_TOLERANCES,
    sides: Sequence[str] = (),
) -> FilmScores:
    """Return what a film scores on which the model failed: the worst of every measure.

    Args:
        shape: (H, W) of the film; its diagonal is the worst distance.
        spacing_mm: as in `score_film`.
        tolerances: as in `score_film`.
        sides: of "right" and "left" those that would have been scored apart.

    """
    spacing, unit = _spacing(spacing_mm)
    worst = _uniform(0.0, diagonal(shape, spacing), tolerances)
    return FilmScores(
        whole=worst,
        ssim=WORST_SSIM,
        specificity=0.0,
        counts=None,
        unit=unit,
        right=worst if RIGHT in sides else None,
        left=worst if LEFT in sides else None,
    )


def check_tolerances(tolerances: Sequence[float]) -> None:
    """Refuse what is not a tolerance of the NSD.

    Raises:
        FilmError: one of them is negative, infinite or no number, or two are the same.
    """
    if not all(np.isfinite(tolerance) and tolerance >= 0 for tolerance in tolerances):
        raise FilmError("An NSD tolerance must be a distance of 0 or more, in mm or pixels: correct it.")
    if len(set(map(nsd_key, tolerances))) != len(tolerances):
        raise FilmError("An NSD tolerance is given twice: give each once.")


def nsd_key(tolerance: float) -> str:
    """Return the name of the NSD at a tolerance, as `nsd_2` or `nsd_1.5`."""
    return f"nsd_{tolerance:g}"


def measure_names(tolerances: Sequence[float] = DEFAULT_TOLERANCES, sides: bool = False) -> list[str]:
    """Return the names of the measures in `FilmScores.to_dict`, in its order, without counts and unit."""
    shared = ["dice", "iou", *map(nsd_key, tolerances), "hd95", "assd"]
    names = [*shared, "ssim", "sensitivity", "specificity"]
    if sides:
        names += [f"{side}_{name}" for side in SIDES for name in (*shared, "sensitivity")]
    return names


def higher_is_better(name: str) -> bool:
    """Say of a measure's name, as `left_nsd_2`, whether more of it is better.

    Raises:
        KeyError: no measure has this name.

    """
    base = name.removeprefix(f"{RIGHT}_").removeprefix(f"{LEFT}_")
    return HIGHER_IS_BETTER["nsd" if base.startswith("nsd_") else base]


def measure_label(name: str, unit: str = "") -> str:
    """Return a measure's name for people, as `NSD at 2 px, left lung`; without `unit` it is left out."""
    side = next((side for side in SIDES if name.startswith(f"{side}_")), "")
    base = name.removeprefix(f"{side}_")
    if base.startswith("nsd_"):
        label = f"NSD at {base.removeprefix('nsd_')} {unit}".strip()
    else:
        label = _LABELS[base] + (f" ({unit})" if unit and has_unit(base) else "")
    return f"{label}, {side} lung" if side else label


def has_unit(name: str) -> bool:
    """Say of a measure's name whether its value depends on the unit: HD95, ASSD, NSD by its tolerance."""
    return not name.endswith(_UNITLESS)


def _region(
    prediction: Mask, truth: Mask, counts: Confusion, spacing: Spacing, tolerances: Sequence[float]
) -> RegionScores:
    predicted = counts.true_positive + counts.false_positive > 0
    true = counts.true_positive + counts.false_negative > 0
    if not predicted and not true:
        return _uniform(1.0, 0.0, tolerances)
    if not predicted or not true:
        return _uniform(0.0, diagonal(truth.shape, spacing), tolerances)
    distances = surface_distances(prediction, truth, spacing)
    return RegionScores(
        dice=counts.dice,
        iou=counts.iou,
        nsd=tuple((tolerance, distances.nsd(tolerance)) for tolerance in tolerances),
        hd95=distances.hausdorff(95),
        assd=distances.average(),
        sensitivity=counts.sensitivity,
    )


def _uniform(share: float, distance: float, tolerances: Sequence[float]) -> RegionScores:
    nsd = tuple((tolerance, share) for tolerance in tolerances)
    return RegionScores(share, share, nsd, distance, distance, share)


def _spacing(spacing_mm: Spacing | None) -> tuple[Spacing, str]:
    if spacing_mm is None:
        return (1.0, 1.0), "px"
    check_spacing(spacing_mm)
    return spacing_mm, "mm"


def split_sides(
    mask: Mask, labels: NDArray[np.uint8], spacing: Spacing = (1.0, 1.0)
) -> dict[str, Mask | None]:
    """Divide a mask (H, W) bool between the two labelled lungs.

    A pixel on a labelled lung belongs to it; any other pixel (the heart's included) belongs to the lung that
    has the nearest labelled pixel, and to the right one where both are equally near. A lung that is not
    labelled is None, and the other one then takes every pixel.

    Args:
        mask: (H, W) bool.
        labels: (H, W) with 1 right lung, 2 left lung.
        spacing: (row, column) distance of pixels, by which nearness is judged.

    Raises:
        FilmError: mask and labels differ in shape.

    """
    if mask.shape != labels.shape:
        raise FilmError("The labels are not on the mask's grid: give labels of the film's own size.")
    lungs = {side: labels == value for side, value in LABELS.items()}
    present = [side for side, lung in lungs.items() if lung.any()]
    if len(present) < len(lungs):
        return {side: mask.copy() if side in present else None for side in lungs}
    right, left = mask & lungs[RIGHT], mask & lungs[LEFT]
    rows, columns = np.nonzero(mask & ~lungs[RIGHT] & ~lungs[LEFT])
    if len(rows):
        pixels = np.stack([rows, columns], axis=1) * np.asarray(spacing)
        nearer_right = _distance(pixels, lungs[RIGHT], spacing) <= _distance(pixels, lungs[LEFT], spacing)
        right[rows[nearer_right], columns[nearer_right]] = True
        left[rows[~nearer_right], columns[~nearer_right]] = True
    return {RIGHT: right, LEFT: left}


def _distance(pixels: NDArray[np.float64], lung: Mask, spacing: Spacing) -> NDArray[np.float64]:
    """From `pixels` (N, 2) outside `lung` to its nearest pixel; (N,) in the unit of `spacing`."""
    from scipy.spatial import KDTree

    edge = np.argwhere(lung & ~_surrounded(lung)) * np.asarray(spacing)  # the nearest pixel is on the edge
    return np.asarray(KDTree(edge).query(pixels)[0])


def _surrounded(mask: Mask) -> Mask:
    """(H, W) bool: pixels whose four neighbours are set; beyond the film nothing is."""
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
