"""Drawing tools on the film's grid: poses, smooth profiles, anti-aliased edges, soft noise and pen strokes.

Chest coordinates are used throughout: x to the image's right and y down, as fractions of a tightly collimated
square film, with the midline at `MIDLINE`. A `Canvas` holds them for each film pixel.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Plane = NDArray[np.floating[Any]]  # float32 throughout; the scalar arithmetic of NumPy's stubs widens it
Point = tuple[float, float]
MIDLINE = 0.505
_PEN_SCALE = 2  # strokes are drawn at twice the film's grid and reduced, which makes their edges smooth


@dataclass(frozen=True)
class Pose:
    """How the chest lies on the film: turned by `angle` (radians), magnified by `zoom`, moved by (x, y)."""

    angle: float = 0.0
    zoom: float = 1.0
    shift: Point = (0.0, 0.0)
    stretch: float = 1.0
    """Height over width against the canonical chest: a film that is not square, squeezed into a square."""


class Canvas:
    """Chest coordinates `x`, `y` (S, S) float32 of every pixel's centre, and `pixel`, its width in them."""

    def __init__(self, size: int, pose: Pose) -> None:
        self.size = size
        self.pose = pose
        self.pixel = 1 / (size * pose.zoom)
        centre = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size) - np.float32(0.5)
        across, down = centre[None, :], centre[:, None]
        cos, sin = math.cos(pose.angle) / pose.zoom, math.sin(pose.angle) / pose.zoom
        self.x: Plane = np.float32(0.5 + pose.shift[0]) + np.float32(cos) * across + np.float32(sin) * down
        squeezed = np.float32(cos) * down - np.float32(sin) * across
        self.y: Plane = np.float32(0.5 + pose.shift[1]) + squeezed / np.float32(pose.stretch)

    def to_film(self, point: Point) -> Point:
        """Chest coordinates to (x, y) pixels of the film."""
        px, py = (
            point[0] - 0.5 - self.pose.shift[0],
            (point[1] - 0.5 - self.pose.shift[1]) * self.pose.stretch,
        )
        cos, sin = math.cos(self.pose.angle) * self.pose.zoom, math.sin(self.pose.angle) * self.pose.zoom
        return (cos * px - sin * py + 0.5) * self.size, (sin * px + cos * py + 0.5) * self.size

    def fill(self, distance: Plane) -> Plane:
        """Coverage in [0, 1] of the shape whose signed `distance` (chest units) is positive inside."""
        return np.clip(distance / np.float32(self.pixel) + np.float32(0.5), 0, 1)

    def strokes(self, lines: Iterable[tuple[Sequence[Point], float, float]]) -> Plane:
        """Draw polylines (points, width in chest units, strength in [0, 1]); the strongest wins; (S, S)."""
        image = Image.new("L", (self.size * _PEN_SCALE,) * 2)
        pen = ImageDraw.Draw(image)
        for points, width, strength in sorted(lines, key=lambda line: line[2]):
            path = [tuple(_PEN_SCALE * value for value in self.to_film(point)) for point in points]
            thickness = max(1, round(width * _PEN_SCALE / self.pixel))
            pen.line(path, fill=round(255 * strength), width=thickness, joint="curve")
        return self.plane(image)

    def polygons(self, shapes: Iterable[tuple[Sequence[Point], float]]) -> Plane:
        """Fill polygons (points, strength in [0, 1]); later ones cover earlier ones; (S, S)."""
        image = Image.new("L", (self.size * _PEN_SCALE,) * 2)
        pen = ImageDraw.Draw(image)
        for points, strength in shapes:
            path = [tuple(_PEN_SCALE * value for value in self.to_film(point)) for point in points]
            pen.polygon(path, fill=round(255 * strength))
        return self.plane(image)

    def plane(self, image: Image.Image) -> Plane:
        """Reduce an 8-bit drawing to the film's grid as float32 in [0, 1]."""
        small = image.resize((self.size, self.size), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.float32) / np.float32(255)


class Profile:
    """A smooth curve through control points, looked up for a plane at once; constant beyond its ends."""

    _STEPS = 400

    def __init__(self, at: Sequence[float], values: Sequence[float], smooth: float = 0.03) -> None:
        self.low, self.high = float(at[0]), float(at[-1])
        fine = np.linspace(self.low, self.high, self._STEPS + 1)
        table = np.interp(fine, at, values)
        reach = max(1, round(smooth * self._STEPS))
        window = np.hanning(2 * reach + 3)[1:-1]
        # reflect oddly about the ends, so that smoothing keeps both end values
        padded = np.pad(table, reach, mode="reflect", reflect_type="odd")
        self.table = np.convolve(padded, window / window.sum(), mode="valid")
        self._start = self.table.astype(np.float32)
        self._step = np.append(np.diff(self.table), 0.0).astype(np.float32)

    def __call__(self, at: Plane) -> Plane:
        """Return the curve's value at each point of a plane."""
        place = (at - np.float32(self.low)) * np.float32(self._STEPS / (self.high - self.low))
        np.clip(place, 0, self._STEPS, out=place)
        index = place.astype(np.int32)
        place -= index
        place *= self._step.take(index)
        place += self._start.take(index)
        return place


def smoothstep(low: float, high: float, value: Plane) -> Plane:
    """0 below `low`, 1 above `high`, and a smooth rise between."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (np.float32(3) - np.float32(2) * t)


def blob(canvas: Canvas, centre: Point, radii: Point, angle: float = 0.0) -> Plane:
    """A soft elliptic bump, 1 at its centre and 0 from its rim on."""
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    dx, dy = canvas.x - np.float32(centre[0]), canvas.y - np.float32(centre[1])
    across = (cos * dx + sin * dy) / np.float32(radii[0])
    along = (cos * dy - sin * dx) / np.float32(radii[1])
    rest = np.clip(np.float32(1) - across * across - along * along, 0, None)
    return rest * rest


def clouds(random: np.random.Generator, size: int, cells: int) -> Plane:
    """Smooth noise (S, S) of about unit spread, with `cells` bumps across the film."""
    coarse = random.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    edge = cells + 3
    crop = (1.5, 1.5, edge - 1.5, edge - 1.5)
    smooth = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC, box=crop)
    return np.asarray(smooth) * np.float32(1.3)


def blur(plane: Plane, sigma: float) -> Plane:
    """Gaussian blur of a plane (S, S) by `sigma` pixels, edges repeated."""
    if sigma < 0.2:
        return plane
    reach = max(1, math.ceil(2.5 * sigma))
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    weights = (weights / (2 * weights.sum() - weights[0])).astype(np.float32)
    for axis in (0, 1):
        width = [(0, 0), (0, 0)]
        width[axis] = (reach, reach)
        padded, length = np.pad(plane, width, mode="edge"), plane.shape[axis]

        def window(start: int, source: Plane = padded, axis: int = axis, length: int = length) -> Plane:
            return source[start : start + length] if axis == 0 else source[:, start : start + length]

        total = window(reach) * weights[0]
        for offset in range(1, reach + 1):
            total += (window(reach - offset) + window(reach + offset)) * weights[offset]
        plane = total
    return plane


def curve(start: Point, pull: Point, push: Point, end: Point) -> list[Point]:
    """A cubic Bézier curve as a polyline."""
    t = np.linspace(0, 1, 24)[:, None]
    corners = np.array([start, pull, push, end], dtype=np.float64)
    points = (
        (1 - t) ** 3 * corners[0]
        + 3 * (1 - t) ** 2 * t * corners[1]
        + 3 * (1 - t) * t**2 * corners[2]
        + t**3 * corners[3]
    )
    return [(float(x), float(y)) for x, y in points]
