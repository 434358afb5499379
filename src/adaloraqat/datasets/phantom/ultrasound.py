"""A phantom like an ultrasound picture: a fan of speckle with dark cysts. Plain on purpose."""

import math

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.phantom.shapes import Plane, blur, clouds
from adaloraqat.datasets.phantom.slices import PhantomCase, check_request

_DEPTH_MM = 120.0  # what a picture shows from top to bottom
_OPENING = math.radians(38)  # of the fan, to each side
_NEAR, _FAR = 0.1, 1.08  # of the picture's height, from the probe's centre above its upper edge
_TRIES = 50


def draw_ultrasound(seed: int, size: int = 128, most: int = 3) -> PhantomCase:
    """Draw the picture number `seed`: (size, size), labels 1 to N, one for each of 1 to `most` cysts.

    The same seed gives the same picture. Cysts are dark, do not touch, and lie inside the fan; behind each
    one the echo is stronger, and everywhere it fades with depth.

    Raises:
        FilmError: the size or the seed is out of range.
    """
    check_request(seed, size)
    random = np.random.default_rng([seed, 12])
    centre = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    x, y = np.broadcast_arrays(centre[None, :] - np.float32(0.5), centre[:, None] + np.float32(_NEAR))
    distance, angle = np.hypot(x, y), np.arctan2(x, y)
    fan = (np.abs(angle) < _OPENING) & (distance > 2 * _NEAR) & (distance < _FAR)
    echo = np.float32(0.45) * (1 + np.float32(0.25) * clouds(random, size, 5))
    labels = np.zeros((size, size), np.uint8)
    for label, cyst in enumerate(_cysts(random, int(random.integers(1, most + 1))), start=1):
        inside, behind = _cyst(x, y, distance, angle, cyst)
        echo = echo * (1 + np.float32(0.5) * behind)
        echo = np.where(inside, np.float32(0.06), echo)
        labels[inside & fan] = label
    echo = blur(echo, 0.5 * size / 128) * np.exp(-np.float32(0.9) * distance)
    pixels = np.where(fan, echo * _speckle(random, size) * np.float32(1.5), 0)
    scale = _DEPTH_MM / size
    return PhantomCase(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8), labels, (scale, scale))


def _cysts(random: np.random.Generator, count: int) -> list[tuple[float, float, float, float]]:
    """Angle, distance and both radii of cysts that keep apart; fewer than `count` where there is no room."""
    cysts: list[tuple[float, float, float, float]] = []
    for _ in range(_TRIES):
        if len(cysts) == count:
            break
        new = (
            random.uniform(-0.4, 0.4),
            random.uniform(0.4, 0.8),
            random.uniform(0.06, 0.13),
            random.uniform(0.05, 0.1),
        )
        if all(_apart(new, other) for other in cysts):
            cysts.append(new)
    return cysts


def _apart(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    place = [(far * math.sin(angle), far * math.cos(angle)) for angle, far, *_ in (a, b)]
    return math.dist(*place) > max(a[2:]) + max(b[2:]) + 0.05


def _cyst(
    x: Plane, y: Plane, distance: Plane, angle: Plane, cyst: tuple[float, float, float, float]
) -> tuple[NDArray[np.bool_], Plane]:
    """Where the cyst lies, and where the echo behind it is stronger (0 to 1)."""
    at, far, across, down = cyst
    centre_x, centre_y = far * math.sin(at), far * math.cos(at)
    inside = np.hypot((x - centre_x) / across, (y - centre_y) / down) < 1
    shadow = np.clip(1 - np.abs(angle - at) * far / across, 0, 1) * (distance > far)
    return inside, shadow.astype(np.float32)


def _speckle(random: np.random.Generator, size: int) -> Plane:
    """Multiplicative noise of mean 1: the magnitude of blurred complex noise (Rayleigh)."""
    parts = [blur(random.standard_normal((size, size), dtype=np.float32), 0.7 * size / 128) for _ in range(2)]
    magnitude = np.hypot(*parts)
    return (magnitude / magnitude.mean()).astype(np.float32)
