"""Lay one thumbnail on another and say how well they agree: the proof that follows a near hash.

Two copies of one film may differ by a crop, a squeeze or a small turn, so one is moved onto the other by an
affine map (inverse compositional Lucas-Kanade, all pairs of a batch at once) before they are compared.
"""

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.audit.perceptual_hash import local_contrast

Pictures = NDArray[np.float32]

_STEPS, _FINE_STEPS = 8, 3
_WORTH_REFINING = 0.6
_BROAD, _NARROW = 17, 7  # windows, of 64 pixels: a broad one leads the search, a narrow one tells films apart
_TILES = 4
_MOST_MOVED = 0.3  # of a side: a map that moves more has lost its way
_LEAST_COVERED = 0.5


def agreement(fixed: NDArray[np.uint8], moving: NDArray[np.uint8]) -> Pictures:
    """Return (N,) correlations, -1 to 1, of thumbnail pairs (N, 64, 64) once `moving` lies on `fixed`.

    Each is the median over 4 x 4 tiles of the correlation of local contrast, so that a burnt-in letter or a
    marker does not hide a copy. 0 where the pair could not be laid on one another.
    """
    first, second = fixed.astype(np.float32), moving.astype(np.float32)
    broad = [local_contrast(values, _BROAD) for values in (first, second)]
    maps = register(_halved(broad[0]), _halved(broad[1]), _STEPS)
    result = _compared(first, second, maps)
    close = result >= _WORTH_REFINING
    if close.any():
        finer = register(broad[0][close], broad[1][close], _FINE_STEPS, maps[close])
        result[close] = np.maximum(result[close], _compared(first[close], second[close], finer))
    return result


def register(fixed: Pictures, moving: Pictures, steps: int, start: Pictures | None = None) -> Pictures:
    """Return (N, 2, 3) affine maps from places of `fixed` to places of `moving`, in [-1, 1] coordinates."""
    count, side, _ = fixed.shape
    grid = _grid(side)  # (side², 3): x, y, 1
    vertical, horizontal = np.gradient(fixed, 2 / side, axis=(1, 2))
    gradients = np.stack([horizontal.reshape(count, -1), vertical.reshape(count, -1)], axis=2)
    # (N, side², 6): how the picture changes with each number of the map
    steepest = (gradients[:, :, :, None] * grid[None, :, None, :]).reshape(count, -1, 6)
    normal = steepest.transpose(0, 2, 1) @ steepest
    scale = np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-6
    inverse = np.linalg.inv(normal + 1e-3 * scale * np.eye(6, dtype=np.float32) / 6)
    maps = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1)) if start is None else start
    target = fixed.reshape(count, -1)
    for _ in range(steps):
        values, inside = _sample(moving, maps)
        error = (values.reshape(count, -1) - target) * inside.reshape(count, -1)
        change = inverse @ (steepest.transpose(0, 2, 1) @ error[:, :, None])
        maps = _compose(maps, change.reshape(count, 2, 3).astype(np.float32))
    return maps


def tile_correlation(fixed: Pictures, moved: Pictures, inside: NDArray[np.bool_]) -> Pictures:
    """Return (N,) medians over tiles of the correlation of two (N, h, w) pictures, where `inside` holds."""
    tiles = [_tiled(values) for values in (fixed, moved, inside.astype(np.float32))]
    first, second, weight = tiles
    total = weight.sum(axis=2)
    enough = total >= _LEAST_COVERED * weight.shape[2]
    share = weight / np.maximum(total, 1)[..., None]
    first = first - (first * share).sum(axis=2, keepdims=True)
    second = second - (second * share).sum(axis=2, keepdims=True)
    product = (first * second * share).sum(axis=2)
    strength = np.sqrt((first**2 * share).sum(axis=2) * (second**2 * share).sum(axis=2))
    correlation = np.where(enough & (strength > 1e-6), product / np.maximum(strength, 1e-6), np.nan)
    known = np.isfinite(correlation).sum(axis=1) >= _TILES**2 // 2
    result = np.zeros(len(correlation), np.float32)
    result[known] = np.nanmedian(correlation[known], axis=1)
    return result


def _compared(fixed: Pictures, moving: Pictures, maps: Pictures) -> Pictures:
    moved, inside = _sample(moving, maps)
    return tile_correlation(local_contrast(fixed, _NARROW), local_contrast(moved, _NARROW), inside)


def _halved(pictures: Pictures) -> Pictures:
    count, side, _ = pictures.shape
    return pictures.reshape(count, side // 2, 2, side // 2, 2).mean(axis=(2, 4))


def _grid(side: int) -> Pictures:
    line = (np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1
    y, x = np.meshgrid(line, line, indexing="ij")
    return np.stack([x.ravel(), y.ravel(), np.ones(side * side, np.float32)], axis=1)


def _sample(pictures: Pictures, maps: Pictures) -> tuple[Pictures, NDArray[np.bool_]]:
    """Return (N, h, w) values of the pictures at the mapped places (bilinear), and where these lie inside."""
    count, side, _ = pictures.shape
    places = _grid(side) @ maps.transpose(0, 2, 1)  # (N, side², 2)
    pixels = (places + 1) * (side / 2) - 0.5
    inside = ((pixels >= 0) & (pixels <= side - 1)).all(axis=2)
    pixels = np.clip(np.nan_to_num(pixels), 0, side - 1.001)
    corner = pixels.astype(np.int32)
    x, y = (pixels - corner).transpose(2, 0, 1)
    flat = pictures.reshape(-1)
    index = corner[..., 1] * side + corner[..., 0] + (np.arange(count) * side * side)[:, None]
    top = flat[index] * (1 - x) + flat[index + 1] * x
    bottom = flat[index + side] * (1 - x) + flat[index + side + 1] * x
    values = (top * (1 - y) + bottom * y).astype(np.float32)
    return values.reshape(pictures.shape), inside.reshape(pictures.shape)


def _compose(maps: Pictures, change: Pictures) -> Pictures:
    """Return maps after the inverse of the small `change`; a map that went astray becomes the identity."""
    step = np.tile(np.eye(3, dtype=np.float32), (len(maps), 1, 1))
    step[:, :2] += np.clip(change, -0.2, 0.2)
    composed: Pictures = (maps @ np.linalg.inv(step)).astype(np.float32)
    astray = ~np.isfinite(composed).all(axis=(1, 2)) | (
        np.abs(composed - np.eye(2, 3)).max(axis=(1, 2)) > 2 * _MOST_MOVED
    )
    composed[astray] = np.eye(2, 3)
    return composed


def _tiled(pictures: Pictures) -> Pictures:
    count, side, _ = pictures.shape
    part = side // _TILES
    return (
        pictures.reshape(count, _TILES, part, _TILES, part)
        .transpose(0, 1, 3, 2, 4)
        .reshape(count, _TILES**2, -1)
    )
