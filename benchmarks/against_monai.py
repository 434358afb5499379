"""How far HD95 and ASSD lie from MONAI's, in pixels' diagonals: python benchmarks/against_monai.py [--pairs 500]."""

import argparse
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from machine import machine
from scipy import ndimage

from adaloraqat.datasets.phantom import PHANTOM_SITES, draw_phantom
from adaloraqat.files import write_json
from adaloraqat.measure.film_scores import score_film

RESULT = Path(__file__).parent / "results" / "against_monai.json"


def blobs(random):
    """Smoothed noise above a threshold: several parts, holes, specks."""
    shape = tuple(random.integers(40, 90, 2))
    while True:
        field = ndimage.gaussian_filter(random.normal(size=shape), random.uniform(1, 6))
        mask = field > np.quantile(field, random.uniform(0.5, 0.95))
        if mask.any():
            return mask


def same_shape(random):
    first = blobs(random)
    while True:
        second = blobs(random)
        if second.shape == first.shape:
            return first, second
        rows, columns = (min(a, b) for a, b in zip(first.shape, second.shape, strict=True))
        if first[:rows, :columns].any() and second[:rows, :columns].any():
            return first[:rows, :columns], second[:rows, :columns]


def lungs(random):
    """A phantom's lungs, and the same moved and with a wavy outline."""
    phantom = draw_phantom(
        int(random.integers(1000)), 256, PHANTOM_SITES["standard"], int(random.integers(1000))
    )
    wavy = ndimage.gaussian_filter(phantom.mask.astype(float), 3)
    wavy = wavy + ndimage.gaussian_filter(random.normal(size=wavy.shape), 6) > 0.5
    return np.roll(wavy, tuple(random.integers(-4, 5, 2)), axis=(0, 1)), phantom.mask


def specks():
    """A square, found exactly, with two single pixels far away: 2 of MONAI's 78 pixels, 6 % of the outline's length."""
    truth = np.zeros((160, 160), bool)
    truth[5:25, 5:25] = True
    found = truth.copy()
    found[150, 20] = found[155, 10] = True
    return found, truth


def distances(found, truth):
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    row = score_film(found, truth).to_dict()
    p, t = (torch.tensor(mask[None, None].astype(np.float32)) for mask in (found, truth))
    hd95 = float(compute_hausdorff_distance(p, t, include_background=True, percentile=95))
    assd = float(compute_average_surface_distance(p, t, include_background=True, symmetric=True))
    return (row["hd95"], hd95), (row["assd"], assd)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=500)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    random, diagonal = np.random.default_rng(0), np.sqrt(2)
    document = {
        "pairs": options.pairs,
        "unit": "pixels' diagonals between the two implementations",
        "machine": machine() | {"monai": version("monai")},
        "command": "python benchmarks/against_monai.py",
    }
    for name, draw in (("random_shapes", same_shape), ("lungs", lungs)):
        apart = np.array(
            [[abs(a - b) / diagonal for a, b in distances(*draw(random))] for _ in range(options.pairs)]
        )
        document[name] = {
            measure: {
                "median": float(np.median(own)),
                "p99": float(np.quantile(own, 0.99)),
                "greatest": float(own.max()),
                "share_beyond_one": float(np.mean(own > 1)),
            }
            for measure, own in zip(("hd95", "assd"), apart.T, strict=True)
        }
        print(name, document[name])
    (ours, theirs), _ = distances(*specks())
    document["two_specks"] = {"hd95_px": ours, "monai_hd95_px": theirs}
    print(document["two_specks"])
    write_json(RESULT, document)


if __name__ == "__main__":
    main()
