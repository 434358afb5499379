"""The chest as the X-ray sees it: densities of body, lungs, bones, heart and abdomen, and their outlines.

Density is in grey levels of an ideal film: 0 air outside the body, about 0.3 lung, 0.65 soft tissue, 0.9
spine and liver. `draw.expose` turns it into a film.
"""

from dataclasses import dataclass

import numpy as np

from adaloraqat.datasets.phantom.anatomy import LEFT, RIGHT, Anatomy, Lung
from adaloraqat.datasets.phantom.shapes import (
    MIDLINE,
    Canvas,
    Plane,
    Point,
    blob,
    blur,
    clouds,
    curve,
    smoothstep,
)
from adaloraqat.datasets.phantom.site import PhantomSite


@dataclass(frozen=True)
class Chest:
    """Planes (S, S): `density`, and coverages in [0, 1] of each lung (visible and whole) and of the heart."""

    density: Plane
    visible: tuple[Plane, Plane]
    whole: tuple[Plane, Plane]
    heart: Plane
    body: Plane


def draw_chest(random: np.random.Generator, canvas: Canvas, anatomy: Anatomy, site: PhantomSite) -> Chest:
    """Draw one patient on one film; `random` gives what changes from film to film."""
    r = canvas.x - np.float32(MIDLINE)
    body_depth = anatomy.body(canvas.y) - np.abs(r)
    body = canvas.fill(body_depth)
    heart_depth = _heart_depth(canvas, anatomy, r)
    heart = canvas.fill(heart_depth)
    bones = random.uniform(*site.bones)

    density = _trunk(random, canvas, anatomy, body_depth, r)
    visible, whole, air = [], [], np.zeros_like(density)
    for lung in (anatomy.right, anatomy.left):
        out = r * np.float32(lung.side)
        depth = _whole_depth(canvas, lung, out)
        seen = np.minimum(np.minimum(depth, lung.dome(out) - canvas.y), out - lung.mediastinum(canvas.y))
        seen = np.minimum(seen, -heart_depth)
        visible.append(canvas.fill(seen))
        whole.append(canvas.fill(depth))
        hidden = smoothstep(0, 0.16, depth) * np.float32(0.3)
        air += np.maximum(_air(seen), hidden)
    density = (
        density
        + _abdomen(random, canvas, anatomy, r)
        + _middle(canvas, r)
        + _muscle(canvas, anatomy, heart_depth)
    )
    lungs = visible[0] + visible[1]
    density -= air * np.float32(random.uniform(0.4, 0.52))
    density += np.float32(bones) * (_ribs(canvas, anatomy, r, body) + _girdle(canvas, anatomy, site, random))
    density += _vessels(random, canvas, anatomy) * (lungs * np.float32(0.8) + np.float32(0.2))
    density += _disease(random, canvas, site) * blur(np.maximum(whole[0], whole[1]), 0.012 * canvas.size)
    return Chest(density, (visible[0], visible[1]), (whole[0], whole[1]), heart, body)


def _air(depth: Plane) -> Plane:
    """Air in the beam: rises steeply from the lung's border and then levels, as in a rounded lung."""
    rest = np.clip(np.float32(1) - depth / np.float32(0.11), 0, 1)
    return np.sqrt(np.float32(1) - rest * rest)


def _whole_depth(canvas: Canvas, lung: Lung, out: Plane) -> Plane:
    """Distance inside the whole lung's border (chest units, negative outside)."""
    depth = np.minimum(lung.outer(canvas.y) - out, out - lung.inner(canvas.y))
    return np.minimum(np.minimum(depth, lung.base(out) - canvas.y), canvas.y - np.float32(lung.apex))


def _heart_depth(canvas: Canvas, anatomy: Anatomy, r: Plane) -> Plane:
    sides = np.minimum(anatomy.heart_left(canvas.y) - r, anatomy.heart_right(canvas.y) + r)
    ends = np.minimum(canvas.y - np.float32(anatomy.heart_top), np.float32(anatomy.heart_bottom) - canvas.y)
    return np.minimum(sides, ends)


def _muscle(canvas: Canvas, anatomy: Anatomy, depth: Plane) -> Plane:
    """The heart's own density; it fades upwards, where the great vessels take over."""
    return np.float32(0.1) * _air(depth) * smoothstep(0, 0.2, canvas.y - np.float32(anatomy.heart_top))


def _trunk(random: np.random.Generator, canvas: Canvas, anatomy: Anatomy, depth: Plane, r: Plane) -> Plane:
    """Soft tissue of trunk and arms, with breasts."""
    rim = np.clip(np.float32(1) - depth / np.float32(0.16), 0, 1)
    inside = canvas.fill(depth)
    tissue = (np.float32(0.26) + np.float32(0.44 + anatomy.fat) * np.sqrt(np.float32(1) - rim * rim)) * inside
    tissue += np.float32(0.012) * clouds(random, canvas.size, 6) * inside
    tissue = np.maximum(tissue, _arms(random, canvas, r))
    if anatomy.breast > 0:
        for side in (RIGHT, LEFT):
            centre = (MIDLINE + side * 0.25, 0.66 + random.uniform(-0.02, 0.04))
            shape = np.sqrt(blob(canvas, centre, (0.2, 0.17)))
            below = smoothstep(-0.16, 0.12, canvas.y - np.float32(centre[1]))
            tissue += np.float32(1.6 * anatomy.breast) * np.sqrt(shape) * below
    return tissue


def _arms(random: np.random.Generator, canvas: Canvas, r: Plane) -> Plane:
    lean, radius = random.uniform(0.1, 0.4), random.uniform(0.075, 0.1)
    axis = np.float32(0.55) + np.float32(lean) * (canvas.y - np.float32(0.2))
    away = np.abs(np.abs(r) - axis)
    below = smoothstep(0.1, 0.22, canvas.y)
    flesh = np.sqrt(np.clip(np.float32(1) - (away / np.float32(radius)) ** 2, 0, 1))
    bone = np.clip(np.float32(1.4) - away / np.float32(0.02), 0, 1)
    return below * (np.float32(0.5) * flesh + np.float32(0.16) * bone)


def _middle(canvas: Canvas, r: Plane) -> Plane:
    """Spine with its discs, the tissue round it, and the air of the windpipe."""
    vertebra = np.float32(0.5) + np.float32(0.5) * np.cos(canvas.y * np.float32(2 * np.pi / 0.062))
    spine = smoothstep(0.05, 0.035, np.abs(r)) * (np.float32(0.06) + np.float32(0.022) * vertebra)
    tissue = smoothstep(0.16, 0.02, np.abs(r)) * smoothstep(-0.05, 0.25, canvas.y) * np.float32(0.12)
    pipe = smoothstep(0.024, 0.012, np.abs(r - np.float32(0.004))) * smoothstep(0.4, 0.32, canvas.y)
    return spine + tissue - np.float32(0.09) * pipe


def _abdomen(random: np.random.Generator, canvas: Canvas, anatomy: Anatomy, r: Plane) -> Plane:
    """Liver and spleen below the domes, and sometimes the stomach's gas."""
    total = np.zeros_like(r)
    for lung in (anatomy.right, anatomy.left):
        out = r * np.float32(lung.side)
        below = canvas.y - lung.dome(out)
        inside = np.clip(lung.outer(canvas.y) + np.float32(0.03) - out, 0, np.float32(0.06)) / np.float32(
            0.06
        )
        rise = np.clip(below / np.float32(0.02), 0, 1) * np.float32(0.12) + smoothstep(
            0, 0.2, below
        ) * np.float32(0.1)
        total += np.where(out > 0, rise * inside, 0)
    if anatomy.bubble > 0.02:
        height = float(anatomy.left.dome(np.full((1, 1), 0.2, np.float32))[0, 0]) + 0.055
        gas = np.clip(
            blob(canvas, (MIDLINE + 0.2, height), (0.09, 0.05), random.uniform(-0.3, 0.3)) * 3, 0, 1
        )
        total -= np.float32(2.2 * anatomy.bubble) * gas
    return total


def _ribs(canvas: Canvas, anatomy: Anatomy, r: Plane, body: Plane) -> Plane:
    """Back and front arches of the ribs; they meet at the chest wall."""
    ribs = anatomy.ribs
    # the cage is the lungs' outer border, a little wider, and does not close at the apex
    cage = np.where(r < 0, anatomy.right.outer(canvas.y), anatomy.left.outer(canvas.y)) + np.float32(0.012)
    u = np.abs(r) / cage
    inside = np.clip((np.float32(1) - u) * cage / np.float32(canvas.pixel) + np.float32(0.5), 0, 1) * body
    bent = np.float32(1) - np.sqrt(np.clip(np.float32(1) - np.float32(0.94) * u * u, 0, 1))
    steep = np.float32(0.7) + np.float32(0.6) * np.clip(canvas.y, 0, 1)
    back = canvas.y - np.float32(ribs.back) * steep * bent
    front = back - np.float32(ribs.front) * steep * np.sqrt(np.clip(np.float32(1) - u, 0, 1)) * np.float32(
        1.2
    )
    shade = _arches(canvas, ribs.first, ribs.spacing, ribs.thickness, ribs.jitter, back) * np.float32(0.1)
    shade *= smoothstep(0.1, 0.2, u)
    front_shade = _arches(canvas, ribs.first, ribs.spacing, ribs.thickness * 1.15, ribs.jitter, front)
    shade += front_shade * np.float32(0.065) * smoothstep(0.42, 0.6, u)
    wall = np.clip(np.float32(1) - np.abs(u - np.float32(0.99)) / np.float32(0.05), 0, 1) * np.float32(0.025)
    return (shade * inside + wall * body) * smoothstep(1.0, 0.72, canvas.y)


def _arches(
    canvas: Canvas, first: float, spacing: float, thickness: float, jitter: tuple[float, ...], height: Plane
) -> Plane:
    """Bands at every `spacing` of `height`, brighter at their rims, each a little out of place."""
    phase = (height - np.float32(first)) / np.float32(spacing)
    number = np.clip(np.floor(phase), -1, 11).astype(np.int32)
    place = phase - number - np.float32(0.5) - np.asarray(jitter, np.float32).take(number + 1)
    depth = np.float32(thickness / 2) - np.abs(place) * np.float32(spacing)
    rim = np.clip(depth / np.float32(0.3 * thickness), 0, 1)
    band = canvas.fill(depth) * (np.float32(1.1) - np.float32(0.35) * rim)
    return np.where((number >= 0) & (number < 11), band, 0)


def _girdle(canvas: Canvas, anatomy: Anatomy, site: PhantomSite, random: np.random.Generator) -> Plane:
    """Clavicles, shoulder blades and the heads of the upper arms."""
    over = random.uniform(*site.scapula)
    tilt = anatomy.clavicle_tilt + random.uniform(-0.015, 0.015)
    lines: list[tuple[list[Point], float, float]] = []
    shapes: list[tuple[list[Point], float]] = []
    for side in (RIGHT, LEFT):
        inner = anatomy.right.apex + 0.085
        # an S lying on its side: convex below at the breastbone, hollow towards the shoulder
        ends = (0.035, inner), (0.14, inner + 0.03), (0.2, inner - 0.11 - tilt), (0.4, inner - 0.06 - tilt)
        clavicle = curve(*((MIDLINE + side * out, down) for out, down in ends))
        lines.append((clavicle, 0.03, 0.8))
        lines.append((clavicle[:6], 0.036, 0.85))
        edge = 0.42 - over
        blade = [
            (edge, 0.2),
            (edge + 0.06, 0.08),
            (edge + 0.14, 0.1),
            (edge + 0.1, 0.24),
            (edge + 0.03, 0.42),
        ]
        outline = [(MIDLINE + side * out, down + tilt) for out, down in blade]
        shapes.append((outline, 0.3))
        lines.append(([outline[-1], outline[0], outline[1]], 0.008, 0.45))
        head = (MIDLINE + side * 0.5, 0.15)
        ring = [
            (head[0] + 0.055 * np.cos(a), head[1] + 0.06 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 16)
        ]
        shapes.append((ring, 0.6))
    soft = blur(np.maximum(canvas.strokes(lines), canvas.polygons(shapes)), 0.004 * canvas.size)
    return soft * np.float32(0.15)


def _vessels(random: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> Plane:
    """Hila and the branching vessels of both lungs."""
    lines: list[tuple[list[Point], float, float]] = []
    hila = np.zeros((canvas.size, canvas.size), np.float32)
    for (r, height), side in zip(anatomy.hila, (RIGHT, LEFT), strict=True):
        root = (MIDLINE + r, height)
        hila += blob(canvas, root, (0.06, 0.12), side * 0.25)
        for heading in np.linspace(-1.3, 1.5, 8):
            start = (root[0] + random.uniform(-0.015, 0.015), root[1] + 0.05 * heading)
            _branch(random, lines, start, side, heading + random.uniform(-0.2, 0.2), 0.013, 0.13, 4)
    drawn = blur(canvas.strokes(lines), 0.003 * canvas.size)
    return np.float32(0.09) * drawn + np.float32(0.12) * hila


def _branch(
    random: np.random.Generator,
    lines: list[tuple[list[Point], float, float]],
    start: Point,
    side: int,
    heading: float,
    width: float,
    length: float,
    depth: int,
) -> None:
    """Add one vessel and its two children; `heading` is the angle below the outward horizontal."""
    reach = length * random.uniform(0.7, 1.1)
    bend = heading + random.uniform(-0.35, 0.35)
    middle = (start[0] + side * 0.5 * reach * np.cos(heading), start[1] + 0.5 * reach * np.sin(heading))
    end = (middle[0] + side * 0.5 * reach * np.cos(bend), middle[1] + 0.5 * reach * np.sin(bend))
    lines.append(([start, middle, end], width, min(1.0, 0.2 + 55 * width)))
    if depth > 1:
        for turn in (-0.3, 0.4):
            aim = bend + turn + random.uniform(-0.2, 0.2)
            _branch(random, lines, end, side, aim, 0.62 * width, 0.7 * length, depth - 1)


def _disease(random: np.random.Generator, canvas: Canvas, site: PhantomSite) -> Plane:
    """Patchy opacities, denser towards the bases; zero on a healthy film."""
    texture = np.float32(0.008) * clouds(random, canvas.size, 24)
    if random.random() >= site.opacity:
        return texture
    strength = random.uniform(*site.opacity_strength)
    cloud = clouds(random, canvas.size, int(random.integers(4, 8))) + np.float32(0.4) * clouds(
        random, canvas.size, 20
    )
    cloud += np.float32(1.2) * (canvas.y - np.float32(random.uniform(0.4, 0.8)))
    patches = smoothstep(-0.4, 1.4, cloud)
    side = np.float32(random.choice([-1.0, 0.0, 0.0, 1.0]))
    onesided = smoothstep(-0.05, 0.05, side * (canvas.x - np.float32(MIDLINE))) if side else np.float32(1)
    return texture + np.float32(strength) * patches * onesided
