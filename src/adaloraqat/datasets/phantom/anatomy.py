"""One patient: the outlines of lungs, mediastinum, heart, diaphragm and body as smooth random profiles.

Distances from the midline are called `r` (chest units, positive to either side). The mean outlines were
measured by eye and ruler on frontal films in general; no film's outline is stored here.
"""

from dataclasses import dataclass

import numpy as np

from adaloraqat.datasets.phantom.shapes import Profile
from adaloraqat.datasets.phantom.site import PhantomSite

RIGHT, LEFT = -1, 1
"""Sides of the patient as signs of x: the right lung lies at the image's left."""


@dataclass(frozen=True)
class Lung:
    """One lung's borders.

    `outer`, `inner` and `mediastinum` give r over y, the visible `dome` and the hidden `base` y over r.
    """

    side: int
    apex: float
    outer: Profile
    inner: Profile
    dome: Profile
    base: Profile
    mediastinum: Profile


@dataclass(frozen=True)
class Ribs:
    """Twelve arches: first height, spacing, drop of the back and of the front part, thickness, unevenness."""

    first: float
    spacing: float
    back: float
    front: float
    thickness: float
    jitter: tuple[float, ...]


@dataclass(frozen=True)
class Anatomy:
    """Everything that stays the same between two films of one patient."""

    right: Lung
    left: Lung
    heart_right: Profile
    heart_left: Profile
    heart_top: float
    heart_bottom: float
    body: Profile
    ribs: Ribs
    hila: tuple[tuple[float, float], tuple[float, float]]
    clavicle_tilt: float
    breast: float
    fat: float
    bubble: float


def draw_anatomy(random: np.random.Generator, site: PhantomSite) -> Anatomy:
    """Draw one patient of a site."""
    width = random.uniform(0.92, 1.06)
    reach = random.uniform(*site.inspiration)
    heart = random.uniform(*site.heart)
    top = random.uniform(0.07, 0.11)
    right = _lung(random, RIGHT, width, reach, top)
    left = _lung(random, LEFT, width, reach, top + random.uniform(-0.012, 0.012))
    floor = 0.77 * reach + random.uniform(-0.01, 0.02)
    return Anatomy(
        right=right,
        left=left,
        **_heart(random, heart, floor),
        body=_body(random, width),
        ribs=_ribs(random, top, reach),
        hila=((-0.085, 0.43 * reach + 0.02), (0.1, 0.41 * reach + 0.02)),
        clavicle_tilt=random.uniform(-0.02, 0.07),
        breast=max(0.0, random.uniform(-0.08, 0.1)),
        fat=random.uniform(-0.03, 0.06),
        bubble=max(0.0, random.uniform(-0.1, 0.16)),
    )


def _lung(random: np.random.Generator, side: int, width: float, reach: float, apex: float) -> Lung:
    own = random.uniform(0.96, 1.04)
    angle = apex + (0.755 + random.uniform(-0.02, 0.03)) * reach
    at = np.array([0.0, 0.006, 0.02, 0.05, 0.10, 0.15, 0.30, 0.50, 0.70, 0.85, 1.0])
    outer = np.array([0.145, 0.172, 0.196, 0.228, 0.268, 0.296, 0.338, 0.361, 0.379, 0.394, 0.399])
    inner = np.array([0.145, 0.118, 0.095, 0.072, 0.062, 0.056, 0.052, 0.05, 0.048, 0.046, 0.044])
    if side == LEFT:
        inner = inner - np.clip(at - 0.2, 0, 0.1) * 0.12
    heights = apex + at * (angle - apex)
    outer = outer * (1 + (width * own - 1) * np.clip(at / 0.3, 0, 1)) + _ripple(random, at, 0.008)
    outer[0] = inner[0]
    dome = _dome(random, side, angle, float(outer[-1]))
    recess = random.uniform(0.01, 0.03) if side == RIGHT else random.uniform(0.015, 0.05)
    along = np.linspace(0.0, 0.45, 16)
    hidden = dome(along.astype(np.float32)) + recess * np.clip(1.2 - along / 0.3, 0, 1)
    return Lung(
        side=side,
        apex=apex,
        outer=Profile(heights.tolist(), outer.tolist(), smooth=0.012),
        inner=Profile(heights.tolist(), inner.tolist(), smooth=0.012),
        dome=dome,
        base=Profile(along.tolist(), hidden.tolist()),
        mediastinum=_mediastinum(random, side, reach),
    )


def _ripple(random: np.random.Generator, at: np.ndarray, size: float) -> np.ndarray:
    phases = random.uniform(0, 2 * np.pi, 2)
    return size * (np.sin(3 * at + phases[0]) + 0.6 * np.sin(7 * at + phases[1])) * np.clip(at / 0.2, 0, 1)


def _dome(random: np.random.Generator, side: int, angle: float, edge: float) -> Profile:
    """The diaphragm's upper outline: y over r, lowest at the costophrenic angle (`edge`, `angle`)."""
    rise = random.uniform(0.075, 0.135) - (0.01 if side == LEFT else 0.0)
    top = random.uniform(0.45, 0.6) * edge
    r = np.array([0.0, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 1.0, 1.15]) * edge
    span = np.where(r < top, 1.6 * edge, edge - top)
    fall = np.clip(np.abs(r - top) / span, 0, 1.2) ** 2.2
    heights = angle - rise * (1 - fall)
    return Profile(r.tolist(), heights.tolist(), smooth=0.06)


def _mediastinum(random: np.random.Generator, side: int, reach: float) -> Profile:
    """The visible inner border above the heart: r over y, with the aortic knob on the left."""
    wide = random.uniform(0.9, 1.25)
    if side == RIGHT:
        at, r = [0.0, 0.12, 0.2, 0.3, 0.4, 0.5, 1.0], [0.06, 0.05, 0.05, 0.056, 0.07, 0.07, 0.06]
    else:
        knob = random.uniform(0.08, 0.105)
        at = [0.0, 0.12, 0.19, 0.23, 0.27, 0.32, 0.37, 0.45, 0.55, 1.0]
        r = [0.075, 0.064, 0.06, 0.075, knob, 0.085, 0.092, 0.11, 0.09, 0.05]
    shrink = 0.5 + 0.5 * reach
    return Profile([y * shrink for y in at], [value * wide for value in r], smooth=0.035)


def _heart(random: np.random.Generator, size: float, floor: float) -> dict:
    at = np.array([0.0, 0.02, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99, 1.0])
    right = np.array([0.0, 0.02, 0.035, 0.058, 0.085, 0.108, 0.108, 0.08, 0.03, -0.06, -0.1])
    left = np.array([0.06, 0.085, 0.095, 0.115, 0.15, 0.2, 0.237, 0.245, 0.22, 0.17, 0.1])
    top = floor - (0.3 + 0.04 * random.standard_normal()) * (0.6 + 0.4 * size)
    heights = (top + at * (floor + 0.02 - top)).tolist()
    shift = random.uniform(-0.015, 0.015)
    return {
        "heart_right": Profile(
            heights, (size * right + _ripple(random, at, 0.005) - shift).tolist(), smooth=0.02
        ),
        "heart_left": Profile(
            heights, (size * left + _ripple(random, at, 0.008) + shift).tolist(), smooth=0.02
        ),
        "heart_top": top,
        "heart_bottom": floor + 0.02,
    }


def _body(random: np.random.Generator, width: float) -> Profile:
    """Half width of neck, shoulders and trunk: r over y."""
    neck, stout = random.uniform(0.095, 0.13), random.uniform(-0.01, 0.05)
    shoulder = random.uniform(-0.03, 0.03)
    at = [-0.3, -0.06, 0.0, 0.05, 0.1, 0.2, 0.32, 0.45, 0.6, 0.8, 1.0, 1.3]
    r = [neck, neck + 0.02, neck + 0.1, 0.36, 0.47, 0.53, 0.5, 0.455, 0.455, 0.46, 0.455, 0.46]
    heights = [y + shoulder if -0.06 < y < 0.2 else y for y in at]
    return Profile(heights, [value * width + stout * (y > 0.3) for y, value in zip(at, r, strict=True)])


def _ribs(random: np.random.Generator, apex: float, reach: float) -> Ribs:
    spacing = random.uniform(0.078, 0.09) * (0.4 + 0.6 * reach)
    return Ribs(
        first=apex - 0.035 + random.uniform(-0.01, 0.01),
        spacing=spacing,
        back=random.uniform(0.09, 0.14),
        front=random.uniform(0.09, 0.17),
        thickness=spacing * random.uniform(0.26, 0.32),
        jitter=tuple(random.uniform(-0.05, 0.05, 16).tolist()),
    )
