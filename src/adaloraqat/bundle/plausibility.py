"""Is this a chest film, and is this a pair of lungs? Warnings for results that nobody should trust unseen.

Each warning is one text, "code: sentence": the code for programs, the sentence for people. The limits lie
just outside what 374 reference masks of real films reach (every third film of jsrt, shenzhen and covid_v7):
lung area 0.09 to 0.61 of the film, two components in all films but one, the smaller at least 0.28 of the
larger, their centres at least 0.29 of the width apart, their heights overlapping by 0.91 or more, at most
0.41 of one side of the film touched; lungs darker than their surroundings in all but one of 561 films (there
0.03 brighter). They are rules of thumb, and prove nothing about a film that raises none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.components import Component, connected_components
from adaloraqat.radiograph.film import Told
from adaloraqat.radiograph.geometry import Box
from adaloraqat.radiograph.inverted import looks_on_its_side, looks_upside_down
from adaloraqat.renamed import renamed_names

THUMBNAIL = 128  # longest side, in samples, of what the rules look at

BLANK_DEVIATION = 0.005  # standard deviation of pixels in [0, 1]
TINY_SIDE = 64  # px; below, lungs cannot be outlined
ASPECT_MAX = 2.5  # longer side over shorter
AREA_MIN, AREA_MAX = 0.07, 0.68  # mask over film
PART_MIN = 0.05  # share of the mask below which a part is a speck
SIDE_TOUCHED_MAX = 0.5  # share of one side of the film that the mask covers
SMALLER_PART_MIN = 0.2  # smaller part over larger
SEPARATION_MIN = 0.2  # distance of the parts' centres over the film's width
OVERLAP_MIN = 0.6  # shared height of the parts over the lower one's height
BRIGHTER_MAX = 0.05  # mean inside the mask minus mean round it, film stretched to [0, 1]
QUALITY_MIN = 0.8  # predicted IoU
DICE_MIN = 0.9  # expected Dice
UNDECIDED = (0.25, 0.75)  # probabilities that say neither lung nor background
OUTSIDE_MAX = (
    0.3  # share of the mask outside the given box; right boxes moved by 8 % of a side: 0.105 at most
)
NOTHING_TOLD = Told()
UNDECIDED_MAX = 0.35  # undecided pixels over mask pixels


@dataclass(frozen=True)
class Result:
    """What the rules look at: the film, the mask and the probability (all h, w), thinned to a thumbnail.

    `shape` (H, W) and `outside` are of the whole film; `outside` is the share of the mask that lies outside
    the given box, 0 where none was given. `components` are the mask's without specks, the largest first.
    """

    pixels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    probability: NDArray[np.float32]
    shape: tuple[int, int]
    quality: float | None
    components: list[Component]
    outside: float
    told: Told
    measure: str
    quality_min: float

    @property
    def area(self) -> float:
        """Share of the film that the mask covers."""
        return float(self.mask.mean())

    @property
    def count(self) -> int:
        """How many parts there are."""
        return len(self.components)


@dataclass(frozen=True)
class Rule:
    """A warning: its code, when it is given, and its sentence, into which fields of `result` are written."""

    code: str
    applies: Callable[[Result], bool]
    sentence: str


def plausibility_warnings(
    pixels: NDArray[np.float32],
    mask: NDArray[np.bool_],
    probability: NDArray[np.float32],
    quality: float | None = None,
    box: Box | None = None,
    told: Told = NOTHING_TOLD,
    quality_error: float | None = None,
) -> list[str]:
    """Return the warnings, "code: sentence" each, for one segmented film; none where nothing looks wrong.

    Args:
        pixels: (H, W) film in [0, 1], bright = dense.
        mask: (H, W) result on the same grid.
        probability: (H, W) of lung, in [0, 1].
        quality: expected Dice or predicted IoU, or None where the model has none.
        box: the prompt that was given, in pixels of the film; without one both lungs are expected, and rules
            about the pair apply only then.
        told: what the film's header says of it.
        quality_error: of an expected Dice; None where `quality` is the predicted IoU.
    """
    step = max(1, -(-max(mask.shape) // THUMBNAIL))
    thin = mask[::step, ::step]
    components = [
        component for component in connected_components(thin) if component.area >= PART_MIN * thin.sum()
    ]
    result = Result(
        pixels=pixels[::step, ::step],
        mask=thin,
        probability=probability[::step, ::step],
        shape=(mask.shape[0], mask.shape[1]),
        quality=quality,
        components=components,
        outside=0.0 if box is None else _share_outside(mask, box),
        told=told,
        measure="IoU" if quality_error is None else "Dice",
        quality_min=QUALITY_MIN if quality_error is None else DICE_MIN,
    )
    if mask.any():
        rules = _FILM_RULES + _MASK_RULES + (_PAIR_RULES if box is None else ())
    else:
        rules = (*_FILM_RULES, _EMPTY)
    return [f"{rule.code}: {rule.sentence.format(result=result)}" for rule in rules if rule.applies(result)]


def _share_outside(mask: NDArray[np.bool_], box: Box) -> float:
    left, top, right, bottom = (max(0, round(edge)) for edge in box)
    total = np.count_nonzero(mask)
    return 1 - np.count_nonzero(mask[top:bottom, left:right]) / total if total else 0.0


def _is_undecided(result: Result) -> bool:
    low, high = UNDECIDED
    undecided = int(np.count_nonzero((result.probability > low) & (result.probability < high)))
    return undecided > UNDECIDED_MAX * max(1, int(np.count_nonzero(result.mask)))


def _runs_along_a_side(result: Result) -> bool:
    mask = result.mask
    sides = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return max(float(np.mean(side)) for side in sides) > SIDE_TOUCHED_MAX


def _is_no_pair(result: Result) -> bool:
    if len(result.components) < 2:
        return False
    first, second = result.components[:2]
    apart = abs(first.centre[0] - second.centre[0]) / result.mask.shape[1]
    shared = min(first.box[3], second.box[3]) - max(first.box[1], second.box[1])
    lower = min(first.box[3] - first.box[1], second.box[3] - second.box[1])
    alike = second.area >= SMALLER_PART_MIN * first.area
    return not (alike and apart >= SEPARATION_MIN and shared >= OVERLAP_MIN * lower)


def _is_bright(result: Result) -> bool:
    low, high = np.percentile(result.pixels, [1, 99])
    rows, columns = np.nonzero(result.mask)
    if high <= low or not rows.size:
        return False
    window = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    film = np.clip((result.pixels[window] - low) / (high - low), 0, 1)
    inside = result.mask[window]
    return not inside.all() and film[inside].mean() - film[~inside].mean() > BRIGHTER_MAX


_FILM_RULES = (
    Rule(
        "blank-film",
        lambda result: bool(result.pixels.std() < BLANK_DEVIATION),
        "the film is almost uniform; check that it was exported with its image.",
    ),
    Rule(
        "tiny-film",
        lambda result: min(result.shape) < TINY_SIDE,
        f"the shorter side has fewer than {TINY_SIDE} pixels; use the full-size film.",
    ),
    Rule(
        "odd-shape",
        lambda result: max(result.shape) > ASPECT_MAX * min(result.shape),
        "the film is very long or very wide; is it a single chest film?",
    ),
    Rule(
        "upside-down",
        lambda result: min(result.shape) >= TINY_SIDE and looks_upside_down(result.pixels),
        "the film looks like a chest film turned upside down; rotate it and try again.",
    ),
    Rule(
        "lateral",
        lambda result: result.told.view == "lateral",
        "the header says that this is a lateral film; the model is made for frontal films.",
    ),
    Rule(
        "oblique",
        lambda result: result.told.view == "oblique",
        "the header says that this is an oblique film; the model is made for frontal films.",
    ),
    Rule(
        "not-a-chest",
        lambda result: result.told.body_part is not None,
        "the header says that the film shows another part of the body ({result.told.body_part}).",
    ),
    Rule(
        "on-its-side",
        lambda result: result.told.on_its_side,
        "the header says that the film lies on its side; rotate it and try again.",
    ),
    Rule(
        "on-its-side",
        lambda result: (
            not result.told.on_its_side
            and min(result.shape) >= TINY_SIDE
            and looks_on_its_side(result.pixels)
        ),
        "the film looks like a chest film that lies on its side; rotate it and try again.",
    ),
)
_EMPTY = Rule(
    "empty-mask",
    lambda result: True,
    "no lung was found; check the film, and give a box if it shows lungs.",
)
_MASK_RULES = (
    Rule(
        "low-quality",
        lambda result: result.quality is not None and result.quality < result.quality_min,
        "the expected overlap ({result.measure}) is only {result.quality:.2f}; check the mask.",
    ),
    Rule(
        "undecided",
        _is_undecided,
        "the model is unsure about a large part of the film; check the mask.",
    ),
    Rule(
        "cut-off",
        _runs_along_a_side,
        "the mask runs along an edge of the film, which may be cropped or rotated.",
    ),
    Rule(
        "outside-box",
        lambda result: result.outside > OUTSIDE_MAX,
        "{result.outside:.0%} of the mask lies outside the given box; does the box enclose the whole lung?",
    ),
)
_PAIR_RULES = (
    Rule(
        "odd-area",
        lambda result: result.area < AREA_MIN,
        "{result.area:.0%} of the film is outlined, little for a pair of lungs; check the mask.",
    ),
    Rule(
        "odd-area",
        lambda result: result.area > AREA_MAX,
        "{result.area:.0%} of the film is outlined, a lot for a pair of lungs; check the mask.",
    ),
    Rule(
        "one-part",
        lambda result: len(result.components) < 2,
        "the mask is one region instead of two; check the mask.",
    ),
    Rule(
        "many-parts",
        lambda result: len(result.components) > 2,
        "the mask has {result.count} regions instead of two; check the mask.",
    ),
    Rule(
        "not-a-pair",
        _is_no_pair,
        "the two regions are not arranged like two lungs; is this a frontal chest film?",
    ),
    Rule(
        "bright-lungs",
        _is_bright,
        "the mask is brighter than its surroundings; is the film inverted, or not a chest film?",
    ),
)

FILM_CODES = tuple(dict.fromkeys(rule.code for rule in _FILM_RULES))
"""The warnings that speak of the film alone, whatever the mask."""
NO_STANDARD_VIEW = ("blank-film", "upside-down", "lateral", "oblique", "not-a-chest", "on-its-side")
"""Those of a film on which right, left and widths mean something else than on an upright frontal one."""


if not TYPE_CHECKING:  # type checkers still report unknown names
    __getattr__ = renamed_names(__name__, {"doubts": "plausibility_warnings"})
