"""The outline measures once more, independent and slow: loops over windows, all pairs of elements."""

import math

import numpy as np


def elements(mask, spacing):
    """(position, length) of every outline element, from the crossings of marching squares."""
    row, column = spacing
    at = lambda y, x: 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and bool(mask[y, x])  # noqa: E731
    found = []
    for y in range(-1, mask.shape[0]):
        for x in range(-1, mask.shape[1]):
            corners = [at(y, x), at(y, x + 1), at(y + 1, x + 1), at(y + 1, x)]  # around the window
            middles = [(0, column / 2), (row / 2, column), (row, column / 2), (row / 2, 0)]
            crossed = [middles[i] for i in range(4) if corners[i] != corners[(i + 1) % 4]]
            if len(crossed) == 2:
                length = math.dist(*crossed)
            elif len(crossed) == 4:
                length = math.dist(middles[0], middles[1]) + math.dist(middles[2], middles[3])
            else:
                continue
            found.append((((y + 0.5) * row, (x + 0.5) * column), length))
    return found


def measures(prediction, truth, spacing, tolerance):
    """(NSD, HD95, ASSD)."""
    one, other = elements(prediction, spacing), elements(truth, spacing)
    directions = []
    for here, there in ((one, other), (other, one)):
        directions.append([(min(math.dist(p, q) for q, _ in there), length) for p, length in here])
    both = directions[0] + directions[1]
    total = sum(length for _, length in both)
    nsd = sum(length for distance, length in both if distance <= tolerance + 1e-9) / total
    assd = sum(distance * length for distance, length in both) / total
    return nsd, max(map(percentile_95, directions)), assd


def percentile_95(direction):
    total, passed = sum(length for _, length in direction), 0.0
    for distance, length in sorted(direction):
        passed += length
        if passed / total >= 0.95 - 1e-12:
            return distance
    raise AssertionError


def blobs(random, shape):
    """A mask of a few random ellipses, never empty."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros(shape, bool)
    for _ in range(random.integers(1, 4)):
        y, x = random.uniform(0, height), random.uniform(0, width)
        a, b = random.uniform(1.5, height / 2), random.uniform(1.5, width / 2)
        mask |= ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 <= 1
    mask[random.integers(height), random.integers(width)] = True
    return mask
