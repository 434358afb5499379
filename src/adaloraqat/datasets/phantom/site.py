"""The look and the mask convention of a place where phantom films come from."""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class PhantomSite:
    """What films of one site have in common; every pair of numbers is a range drawn from once a film.

    Geometry: `angle` in degrees, `zoom` (1: the lungs fill about four fifths of the width), `shift` in
    fractions of the film, `stretch` (height over width). Anatomy: `heart` (1: normal), `inspiration` (lung
    height, 1: full), `scapula` (how far the shoulder blades lie over the lungs, in fractions of the width).
    Look: `gamma` (above 1: darker lungs), `black` and `white` (grey levels of air and of the densest part),
    `noise` (spread, of the full range), `blur` (pixels at 256), `bones` (contrast of ribs and clavicles).
    Chances: `opacity`, `tubes`, `marker`, `collimation`. `opacity_strength` is the grey added by disease.

    `whole_lung` is the mask convention: False outlines the visible lung field, without the heart and above
    the diaphragm; True the whole lung, with the part behind the heart and the recess below the dome.
    """

    name: str
    whole_lung: bool
    angle: Range = (-2.0, 2.0)
    zoom: Range = (0.86, 1.08)
    shift: Range = (-0.03, 0.03)
    stretch: Range = (0.94, 1.05)
    heart: Range = (0.86, 1.08)
    inspiration: Range = (0.9, 1.05)
    scapula: Range = (-0.06, 0.0)
    gamma: Range = (0.75, 1.45)
    black: Range = (0.0, 0.08)
    white: Range = (0.84, 0.98)
    noise: Range = (0.006, 0.02)
    blur: Range = (0.4, 0.8)
    bones: Range = (0.7, 1.2)
    opacity: float = 0.2
    opacity_strength: Range = (0.04, 0.14)
    tubes: float = 0.0
    marker: float = 0.6
    collimation: float = 0.15


PHANTOM_SITES = {
    "standard": PhantomSite(name="standard", whole_lung=False),
    "bedside": PhantomSite(
        name="bedside",
        whole_lung=True,
        angle=(-7.0, 7.0),
        zoom=(0.78, 1.0),
        shift=(-0.06, 0.06),
        stretch=(0.92, 1.12),
        heart=(1.08, 1.32),
        inspiration=(0.78, 0.95),
        scapula=(0.0, 0.09),
        gamma=(0.65, 1.2),
        black=(0.04, 0.22),
        white=(0.66, 0.88),
        noise=(0.015, 0.035),
        blur=(0.6, 1.2),
        bones=(0.5, 0.9),
        opacity=0.8,
        opacity_strength=(0.1, 0.24),
        tubes=0.8,
        marker=0.8,
        collimation=0.5,
    ),
}
