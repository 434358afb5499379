"""How fast phantom films are drawn: `python benchmarks/phantoms.py` (seconds of one core; the best of eight films).

Twenty a second at 256 px were asked for; it depends on the CPU. Writes benchmarks/results/phantoms.json.
"""

import json
import time
from pathlib import Path

from machine import machine

from adaloraqat.datasets.phantom import draw_phantom

RESULTS = Path(__file__).parent / "results" / "phantoms.json"


def main() -> None:
    draw_phantom(0)
    seconds = []
    for seed in range(8):
        start = time.process_time()
        draw_phantom(seed, 256, "bedside")
        seconds.append(time.process_time() - start)
    document = {"size_px": 256, "site": "bedside", "a_second": 1 / min(seconds), "machine": machine()}
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
