"""How often intervals and margin tests err, by simulation: python benchmarks/simulated_statistics.py [--trials 4000].

Results in results/statistics.json. A cell is one kind of difference, one number of patients, and one or several
films a patient. Every trial of a cell is a column of `bootstrap_means`, the function that `evaluate` calls; a
model exactly at the margin passes for "not inferior" where the interval's low end lies above the margin
(`tests/measure/statistics` holds the two against each other). Cells that stand in the file with the same number
of trials are not simulated again.
"""

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from machine import machine
from scipy import stats

from adaloraqat.files import write_json
from adaloraqat.measure.statistics import bootstrap_means, failure_rate

RESULT = Path(__file__).parent / "results" / "statistics.json"
PATIENTS = (8, 12, 20, 40, 60)
FILMS = ("one", "1 to 5")
MOST_FALSE = {8: 0.055, 12: 0.055, 20: 0.045, 40: 0.045, 60: 0.045}
LEAST_COVERAGE = 0.92
MARGIN = 0.5  # for power, in standard deviations of one patient's difference
BLOCK = 500  # trials that share the numbers of films of their patients
SHARE = 0.7  # of the variance between patients, where they have several films


def dice(random, shape):
    return random.beta(30, 1.5, shape)


KINDS = {
    "normal": lambda random, shape: random.normal(size=shape),
    "right-skewed (exponential)": lambda random, shape: random.exponential(size=shape) - 1,
    "left-skewed (exponential)": lambda random, shape: 1 - random.exponential(size=shape),
    "tied (normal, rounded to a standard deviation)": lambda random, shape: np.round(
        random.normal(size=shape)
    ),
    "tied (-1, 0 or 1; 60 % are 0)": lambda random, shape: random.choice(
        [-1.0, 0.0, 1.0], shape, p=[0.2, 0.6, 0.2]
    ),
    "scores (beta(30, 1.5), as Dice)": lambda random, shape: dice(random, shape) - 30 / 31.5,
}


def simulate(kind: str, patients: int, films: str, trials: int) -> dict:
    random = np.random.default_rng([list(KINDS).index(kind), patients, FILMS.index(films)])
    draw = KINDS[kind]
    deviation = float(np.std(draw(np.random.default_rng(0), 1_000_000)))
    low, high, t_low = [], [], []
    for start in range(0, trials, BLOCK):
        columns = min(BLOCK, trials - start)
        counts = np.ones(patients, int) if films == "one" else random.integers(1, 6, patients)
        codes = np.repeat(np.arange(patients), counts)
        values = draw(random, (patients, columns))[codes]
        if films != "one":
            values = np.sqrt(SHARE) * values + np.sqrt(1 - SHARE) * draw(random, (len(codes), columns))
        intervals = bootstrap_means(values, list(codes.astype(str)), seed=0)
        # no interval (all patients alike): it covers nothing and shows nothing
        low.append(np.nan_to_num(intervals[:, 0], nan=-np.inf))
        high.append(np.where(np.isnan(intervals[:, 1]), -np.inf, intervals[:, 1]))
        t_low.append(clustered_t(values, codes, counts))
    low, high, t_low = (np.concatenate(parts) for parts in (low, high, t_low))
    return {
        "kind": kind,
        "patients": patients,
        "films": films,
        "trials": trials,
        "false_positives": float(np.mean(low > 0)),
        "coverage": float(np.mean((low <= 0) & (high >= 0))),
        "power": float(np.mean(low > -MARGIN * deviation)),
        "t_test_false_positives": float(np.mean(t_low > 0)),
        "t_test_power": float(np.mean(t_low > -MARGIN * deviation)),
    }


def clustered_t(values, codes, counts):
    """Return the low end of the t interval that stood here before, for comparison."""
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, codes, values)
    mean = sums.sum(axis=0) / counts.sum()
    deviations = sums - mean * counts[:, None]
    error = np.sqrt(len(counts) / (len(counts) - 1) * (deviations**2).sum(axis=0)) / counts.sum()
    return mean - stats.t.ppf(0.975, len(counts) - 1) * error


def rare_failures(patients: int = 20, rate: float = 0.05, trials: int = 4000) -> dict:
    """Scores of which some are 0: what an interval of the mixture covers, and of the films that did not fail."""
    random = np.random.default_rng(patients)
    scores = dice(random, (patients, trials))
    failed = random.random((patients, trials)) < rate
    names = [str(number) for number in range(patients)]
    mixed = bootstrap_means(np.where(failed, 0.0, scores), names)
    truth = 30 / 31.5
    kept, rates = [], []
    for number in range(trials):
        own = ~failed[:, number]
        low, high = bootstrap_means(scores[own, number : number + 1], names[: own.sum()], resamples=999)[0]
        kept.append(low <= truth <= high)
        found = failure_rate(list(failed[:, number]), names)
        rates.append((found.interval[0] <= rate <= found.interval[1], rate <= found.upper))
    mixture = truth * (1 - rate)
    return {
        "patients": patients,
        "failure_rate": rate,
        "trials": trials,
        "samples_without_a_failure": float(np.mean(~failed.any(axis=0))),
        "coverage_of_the_mixture": float(np.mean((mixed[:, 0] <= mixture) & (mixture <= mixed[:, 1]))),
        "coverage_of_films_that_did_not_fail": float(np.mean(kept)),
        "coverage_of_the_rate": float(np.mean([inside for inside, _ in rates])),
        "coverage_of_the_rate's_upper_bound": float(np.mean([below for _, below in rates])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--fresh", action="store_true", help="simulate every cell again")
    options = parser.parse_args()
    stored = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() and not options.fresh else {}
    done = {key(cell): cell for cell in stored.get("cells", [])}
    document = {
        "command": "python benchmarks/simulated_statistics.py",
        "nominal": "one-sided 2.5 %, intervals 95 %",
        "power": f"of an equal model, margin {MARGIN:g} standard deviations of a patient's difference",
        "machine": machine() | {"numpy": version("numpy"), "scipy": version("scipy")},
        "cells": [],
    }
    for kind in KINDS:
        for films in FILMS:
            for patients in PATIENTS:
                started = time.process_time()
                place = (kind, films, patients, options.trials)
                cell = done.get(place) or simulate(kind, patients, films, options.trials)
                document["cells"].append(cell)
                write_json(RESULT, document)
                print(line(cell), f"{time.process_time() - started:.1f} s", flush=True)
    document["rare_failures"] = stored.get("rare_failures") or rare_failures()
    print(document["rare_failures"])
    document["timing"] = {"seconds_of_8_measures_of_2000_patients": seconds()}
    document["worst"] = worst(document["cells"])
    write_json(RESULT, document)
    print(document["worst"])
    broken = [line(cell) for cell in document["cells"] if not kept(cell)]
    if broken:
        raise SystemExit("These cells break the promise:\n" + "\n".join(broken))


def seconds() -> float:
    values = np.random.default_rng(1).random((2000, 8))
    started = time.process_time()
    bootstrap_means(values, [str(i) for i in range(2000)])
    return round(time.process_time() - started, 1)


def key(cell: dict) -> tuple:
    return cell["kind"], cell["films"], cell["patients"], cell["trials"]


def kept(cell: dict) -> bool:
    return cell["false_positives"] <= MOST_FALSE[cell["patients"]] and cell["coverage"] >= LEAST_COVERAGE


def worst(cells: list[dict]) -> dict:
    few = [cell["false_positives"] for cell in cells if cell["patients"] < 20]
    more = [cell["false_positives"] for cell in cells if cell["patients"] >= 20]
    coverage = min(cell["coverage"] for cell in cells)
    return {"false_positives_8_to_12": max(few), "false_positives_20_to_60": max(more), "coverage": coverage}


def line(cell: dict) -> str:
    return (
        f"{cell['kind']}, {cell['patients']} patients, {cell['films']} film(s): false positives "
        f"{100 * cell['false_positives']:.1f} % (t {100 * cell['t_test_false_positives']:.1f}), coverage "
        f"{100 * cell['coverage']:.1f} %, power {100 * cell['power']:.0f} % (t {100 * cell['t_test_power']:.0f})"
    )


if __name__ == "__main__":
    main()
