"""Speed as a ratio: candidates run in turns (A B A B), so that a busy computer slows all alike."""

import time
from collections.abc import Callable, Mapping
from statistics import median


def interleaved(
    runs: Mapping[str, Callable[[], object]], repeats: int, warmup: int = 2
) -> dict[str, list[float]]:
    """Call the runs in turn, `repeats` times after `warmup` unmeasured turns; return milliseconds a call."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(warmup + repeats):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            elapsed = (time.perf_counter() - started) * 1000
            if turn >= warmup:
                times[name].append(elapsed)
    return times


def median_ratio(times: Mapping[str, list[float]], name: str, reference: str) -> float:
    """Median over turns of reference / name: above 1, `name` is the faster one."""
    return median(other / own for own, other in zip(times[name], times[reference], strict=True))
