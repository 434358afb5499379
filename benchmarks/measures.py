"""Time of every measure on pairs of lung masks of 512 px: python benchmarks/measures.py [--pairs 1000] [--labels]."""

import argparse
import time
from pathlib import Path

import numpy as np
from machine import machine

from adaloraqat.datasets.phantom import PHANTOM_SITES, draw_phantom
from adaloraqat.files import write_json
from adaloraqat.measure.film_scores import measure_names, score_film

RESULT = Path(__file__).parent / "results" / "measures.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--labels", action="store_true", help="score the lungs apart too")
    options = parser.parse_args()
    site = PHANTOM_SITES["standard"]
    phantoms = [draw_phantom(seed, options.side, site, seed) for seed in range(10)]
    random = np.random.default_rng(0)
    score_film(phantoms[0].mask, phantoms[0].mask)  # imports
    wall = cpu = 0.0
    for number in range(options.pairs):
        phantom = phantoms[number % len(phantoms)]
        prediction = np.roll(phantom.mask, tuple(random.integers(-6, 7, 2)), axis=(0, 1))
        labels = phantom.labels if options.labels else None
        started, worked = time.perf_counter(), time.process_time()
        score_film(prediction, phantom.mask, (0.7, 0.7), labels)
        wall, cpu = wall + time.perf_counter() - started, cpu + time.process_time() - worked
    document = {
        "pairs": options.pairs,
        "side_px": options.side,
        "lungs_apart": options.labels,
        "measures": measure_names(sides=options.labels),
        "processes": 1,
        "machine": machine(),
        "command": "python benchmarks/measures.py",
        "timing": {"wall_seconds": round(wall, 1), "cpu_seconds": round(cpu, 1)},
    }
    write_json(RESULT, document)
    print(document["timing"])


if __name__ == "__main__":
    main()
