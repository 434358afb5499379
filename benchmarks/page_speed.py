"""Time from choosing a film to its outline on the page, fast model; writes benchmarks/results/page_speed.json.

    python benchmarks/page_speed.py [--films 7] [--cores 2] [--out FILE]

Needs the page (`make page`), Playwright and Chromium. Each film is chosen alone in the page that is loaded; the time
ends when the outline is in the list. The first film counts apart: it comes upon caches that are cold.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

from machine import machine
from page_in_browser import choose, loaded, phantoms, window

RESULT = Path(__file__).parent / "results/page_speed.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=7)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # of this process, and so of the browser
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with phantoms(given.films, 1024) as films:
        began = time.perf_counter()
        with window(viewport={"width": 1440, "height": 900}) as (page, browser):
            loaded(page)
            opened = time.perf_counter() - began
            took = []
            for number, film in enumerate(films):
                start = time.perf_counter()
                choose(page, [film], "Add films" if number else "Choose films")
                page.locator(".row[data-stage=done]").nth(number).wait_for()
                took.append(time.perf_counter() - start)
            threads = page.evaluate("() => crossOriginIsolated ? navigator.hardwareConcurrency : 1")
    document = {
        "machine": machine(),
        "browser": browser,
        "cores": given.cores,
        "hardware_concurrency": threads,
        "load_average_before": busy,
        "films": {"kind": "phantom, DICOM", "side_px": 1024, "count": given.films},
        "model": "lung-field-fast",
        "seconds": {
            "from_start_of_browser_to_checked_model": round(opened, 3),
            "first_outline": round(took[0], 3),
            "median_of_the_others": round(statistics.median(took[1:]), 3),
            "slowest_of_the_others": round(max(took[1:]), 3),
        },
    }
    given.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(document["seconds"], indent=2))


if __name__ == "__main__":
    main()
