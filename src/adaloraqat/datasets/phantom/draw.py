"""Draw one phantom: a film with its mask and its labels."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.phantom.anatomy import draw_anatomy
from adaloraqat.datasets.phantom.chest import Chest, draw_chest
from adaloraqat.datasets.phantom.exposure import expose
from adaloraqat.datasets.phantom.shapes import Canvas, Plane, Pose
from adaloraqat.datasets.phantom.site import PHANTOM_SITES, PhantomSite
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import HEART, LEFT_LUNG, RIGHT_LUNG

_FIELD_MM = 350.0  # what a film of zoom 1 shows from side to side
SMALLEST = 32
LARGEST = 4096


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
