"""Draw one phantom: a film with its mask and its labels.

From density to a film (`expose`): exposure, noise and blur, and what lies on top of the patient.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from adaloraqat.datasets.phantom.anatomy import draw_anatomy
from adaloraqat.datasets.phantom.chest import Chest, draw_chest
from adaloraqat.datasets.phantom.shapes import MIDLINE, Canvas, Plane, Point, Pose, blur, clouds, curve
from adaloraqat.datasets.phantom.site import PHANTOM_SITES, PhantomSite
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import HEART, LEFT_LUNG, RIGHT_LUNG

_FIELD_MM = 350.0  # what a film of zoom 1 shows from side to side
SMALLEST = 32
LARGEST = 4096

Line = tuple[list[Point], float, float]


@dataclass(frozen=True)
class Phantom:
    """A drawn film and its truth, all (S, S).

    `pixels` float32 in [0, 1], bright = dense; `mask` bool, both lungs by the site's convention; `labels`
    uint8: 1 right lung (at the image's left), 2 left lung, 3 heart; `mask` is `labels` 1 and 2 together.
    `spacing_mm` is (row, column) in mm a pixel.
    """

    pixels: Plane
    mask: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float]


def draw_phantom(
    seed: int, size: int = 256, site: PhantomSite | str = "standard", patient_seed: int | None = None
) -> Phantom:
    """Draw the frontal chest film number `seed` of a site, `size` pixels wide and high.

    The same seed gives the same film. Two seeds with one `patient_seed` give two films of one patient: the
    anatomy stays, while pose, exposure, disease and tubes change.

    Raises:
        FilmError: the size is out of range, a seed is negative, or the site is not known.
    """
    look = find_site(site)
    if not SMALLEST <= size <= LARGEST:
        raise FilmError(
            f"A phantom of {size} pixels cannot be drawn: choose a size from {SMALLEST} to {LARGEST}."
        )
    if seed < 0 or (patient_seed is not None and patient_seed < 0):
        raise FilmError("A phantom's seed cannot be negative: choose 0 or a positive whole number.")
    patient = np.random.default_rng([seed if patient_seed is None else patient_seed, 1])
    random = np.random.default_rng([seed, 2])
    anatomy = draw_anatomy(patient, look)
    pose = _pose(random, look)
    canvas = Canvas(size, pose)
    chest = draw_chest(random, canvas, anatomy, look)
    labels = _labels(chest, look.whole_lung)
    column = _FIELD_MM / (size * pose.zoom)
    return Phantom(
        pixels=expose(random, canvas, chest, look),
        mask=np.isin(labels, (RIGHT_LUNG, LEFT_LUNG)),
        labels=labels,
        spacing_mm=(column / pose.stretch, column),
    )


def find_site(site: PhantomSite | str) -> PhantomSite:
    """Return a site by name, or the site itself.

    Raises:
        FilmError: no site has that name.
    """
    if isinstance(site, PhantomSite):
        return site
    if site not in PHANTOM_SITES:
        raise FilmError(
            f"There is no phantom site {site!r}: choose one of {', '.join(sorted(PHANTOM_SITES))}."
        )
    return PHANTOM_SITES[site]


def _pose(random: np.random.Generator, site: PhantomSite) -> Pose:
    return Pose(
        angle=math.radians(random.uniform(*site.angle)),
        zoom=random.uniform(*site.zoom),
        shift=(random.uniform(*site.shift), random.uniform(*site.shift)),
        stretch=random.uniform(*site.stretch),
    )


def _labels(chest: Chest, whole_lung: bool) -> NDArray[np.uint8]:
    labels = np.zeros(chest.heart.shape, np.uint8)
    labels[chest.heart >= 0.5] = HEART
    lungs = chest.whole if whole_lung else chest.visible
    for value, lung in zip((RIGHT_LUNG, LEFT_LUNG), lungs, strict=True):
        labels[lung >= 0.5] = value  # where lung lies behind the heart, the lung is what the mask names
    return labels


def expose(random: np.random.Generator, canvas: Canvas, chest: Chest, site: PhantomSite) -> Plane:
    """Return the film's pixels (S, S) float32 in [0, 1], bright = dense."""
    density = chest.density
    if random.random() < site.tubes:
        density = density + np.float32(0.3) * _tubes(random, canvas) * (np.float32(0.4) + density)
    unit = canvas.size / 256
    film = blur(np.clip(density, 0, 1.15), random.uniform(*site.blur) * unit)
    film = film / np.float32(random.uniform(0.92, 1.05))
    film = np.clip(film, 0, 1) ** np.float32(random.uniform(*site.gamma))
    black, white = random.uniform(*site.black), random.uniform(*site.white)
    film = np.float32(black) + np.float32(white - black) * film
    film += np.float32(0.02) * clouds(random, canvas.size, 2)
    film += np.float32(random.uniform(*site.noise)) * _grain(random, canvas.size)
    if random.random() < site.collimation:
        film *= _collimator(random, canvas.size)
    if random.random() < site.marker:
        film = np.maximum(film, np.float32(0.95) * _marker(random, canvas.size))
    return np.clip(film, 0, 1).astype(np.float32)


def _grain(random: np.random.Generator, size: int) -> Plane:
    """Noise (S, S) of about unit spread: quantum noise, half of it blurred by the detector."""
    fine = random.standard_normal((size, size), dtype=np.float32)
    return np.float32(0.5) * fine + np.float32(1.4) * blur(np.roll(fine, 7, axis=1), 0.8)


def _collimator(random: np.random.Generator, size: int) -> Plane:
    """1 in the exposed field and 0 in the border left by the collimator's blades, seldom on all sides."""
    field = np.ones((size, size), np.float32)
    ramp = np.arange(size, dtype=np.float32)
    for turns in range(4):
        if random.random() < 0.5:
            border, slant = random.uniform(0.01, 0.06) * size, random.uniform(-0.02, 0.02)
            edge = (
                ramp[:, None]
                - np.float32(border)
                - np.float32(slant) * (ramp[None, :] - np.float32(size / 2))
            )
            field *= np.rot90(np.clip(edge, 0.03, 1), turns)
    return field


def _marker(random: np.random.Generator, size: int) -> Plane:
    """Letters in an upper corner, such as a technologist puts there."""
    image = Image.new("L", (size, size))
    text = str(random.choice(["R", "L", "AP", "PA", "L  pa", "R  AP"]))
    at_left = text[0] != "L" if text[0] in "RL" else bool(random.integers(2))
    across = random.uniform(0.02, 0.1) if at_left else random.uniform(0.84, 0.92)
    font = ImageFont.load_default(max(8, round(size * random.uniform(0.035, 0.06))))
    place = (across * size, random.uniform(0.02, 0.1) * size)
    ImageDraw.Draw(image).text(place, text, fill=round(255 * random.uniform(0.7, 1.0)), font=font)
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _tubes(random: np.random.Generator, canvas: Canvas) -> Plane:
    """Lines and tubes of an intensive-care patient: breathing tube, central line, leads with electrodes."""
    lines: list[Line] = []
    if random.random() < 0.6:
        end = random.uniform(0.22, 0.34)
        path = [(MIDLINE + 0.012, y) for y in np.linspace(-0.2, end, 6)]
        lines += [(path, 0.016, 0.55), (path, 0.004, 1.0)]
    if random.random() < 0.6:
        neck = (MIDLINE - 0.09, -0.15)
        lines.append(
            (curve(neck, (MIDLINE - 0.12, 0.1), (MIDLINE - 0.05, 0.2), (MIDLINE - 0.06, 0.42)), 0.007, 0.8)
        )
    for _ in range(int(random.integers(0, 4))):
        pad = (random.uniform(0.1, 0.9), random.uniform(0.12, 0.75))
        far = (random.uniform(-0.1, 1.1), random.choice([-0.2, 1.2]))
        by = [(random.uniform(0.1, 0.9), random.uniform(0.2, 0.9)) for _ in range(2)]
        lines.append((curve(pad, by[0], by[1], far), 0.006, 0.7))
        ring = [(pad[0] + 0.012 * np.cos(a), pad[1] + 0.012 * np.sin(a)) for a in np.linspace(0, 6.3, 12)]
        lines.append((ring, 0.012, 0.9))
    return canvas.strokes(lines)
