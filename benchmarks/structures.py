"""Right lung, left lung, heart, and what quality is worth: test films, clean, mirrored and corrupted.

`python benchmarks/structures.py --data split.csv --model lung-field --source jsrt --source shenzhen` segments each
test film of the sources as it is, mirrored, and in `--corrupted` of robustness's corruptions, taken in turn (the
films of sources whose masks follow another convention serve with `--mirrored-only` for the sides alone). The split is
made by `adaloraqat data split MANIFEST --out split.csv --fractions 0.7,0.15,0.15`. Rows are kept in
build/structures-MODEL-SPLIT.jsonl, so that an interrupted run goes on; `--pool lung-field lung-whole` pools the quality
of these rows, each model on its own films. Writes benchmarks/results/structures.json:

- jsrt: Dice of each structure, error of the cardiothoracic ratio against that of the labels;
- sides: mirrored films that were warned of, others that were, and films whose sides were exchanged;
- quality: AUROC for films below Dice 0.90 with a bootstrap of patients, the error of what was expected, the curve of
  risk against coverage; how many clean frontal films `--strict` refuses.
"""

import argparse
import json
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from adaloraqat import Segmenter
from adaloraqat.cli.segment_film import MIN_QUALITY, Strictness
from adaloraqat.datasets.manifest import Entry, read_manifest, select
from adaloraqat.evaluate.score import Settings, view_of
from adaloraqat.measure.clinical import cardiothoracic_ratio
from adaloraqat.measure.overlap import dice
from adaloraqat.radiograph import HEART, LEFT_LUNG, RIGHT_LUNG, Film, read_film, read_labels
from adaloraqat.radiograph.corrupt import CLEAN, CORRUPTIONS

RESULTS = Path(__file__).parent / "results" / "structures.json"
POOR = 0.90
MIRRORED = "mirrored"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", help="to segment with")
    parser.add_argument(
        "--pool", nargs="+", metavar="NAME", help="only pool the quality of rows kept of these"
    )
    parser.add_argument("--name", help="of the model in the results; default: --model")
    parser.add_argument("--source", action="append", default=[])
    parser.add_argument("--split", default="test")
    parser.add_argument("--corrupted", type=int, default=2)
    parser.add_argument("--mirrored-only", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=Path, default=Path("build"))
    asked = parser.parse_args()
    if asked.pool:
        pool(asked.pool, asked.rows, asked.split)
        return
    if asked.model is None or not asked.source:
        parser.error("give --model and --source, or --pool")
    name = asked.name or asked.model
    asked.rows.mkdir(exist_ok=True)
    kept = asked.rows / f"structures-{name}-{asked.split}.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(row["id"], row["condition"]) for row in rows}
    segmenter = Segmenter.load(asked.model, threads=asked.threads)
    turns = cycle(condition for condition in CORRUPTIONS if condition != CLEAN)
    with kept.open("a") as stream:
        for entry in select(read_manifest(asked.data), asked.split):
            if entry.source not in asked.source:
                continue
            drawn = list(islice(turns, asked.corrupted))
            conditions = (CLEAN, MIRRORED) if asked.mirrored_only else (CLEAN, MIRRORED, *drawn)
            for condition in conditions:
                if (entry.id, condition) not in done:
                    rows.append(row_of(segmenter, entry, condition, asked.mirrored_only))
                    stream.write(json.dumps(rows[-1]) + "\n")
                    stream.flush()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"models": {}}
    found["models"][name] = {"split": asked.split, **summary(rows)}
    found["machine"] = machine()
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    shown = {key: value for key, value in found["models"][name].items() if key != "risk_coverage"}
    print(json.dumps(shown, indent=1))


def pool(names: list[str], folder: Path, split: str) -> None:
    """Write the quality of several models, each on its own films, as if they were one."""
    lines = [
        line
        for name in names
        for line in (folder / f"structures-{name}-{split}.jsonl").read_text().splitlines()
    ]
    rows = [row for row in map(json.loads, lines) if row["dice"] is not None]
    found = json.loads(RESULTS.read_text())
    found["pooled"] = {
        "models": names,
        "clean": quality([row for row in rows if row["condition"] == CLEAN]),
        "corrupted": quality([row for row in rows if row["condition"] not in (CLEAN, MIRRORED)]),
    }
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found["pooled"], indent=1))


def row_of(segmenter: Segmenter, entry: Entry, condition: str, sides_only: bool) -> dict[str, Any]:
    view = view_of(entry, CLEAN if condition == MIRRORED else condition, Settings())
    film, truth = view.film, view.truth
    if condition == MIRRORED:
        clean = read_film(entry.path_image)
        film, truth = Film.from_array(clean.pixels[:, ::-1].copy()), truth[:, ::-1]
    result = segmenter.segment(film)
    row: dict[str, Any] = {
        "id": entry.id,
        "patient": entry.patient_id,
        "source": entry.source,
        "condition": condition,
        "dice": None if sides_only else dice(result.mask, truth),
        "quality": result.quality,
        "predicted_iou": result.predicted_iou,
        "warnings": [warning.split(":")[0] for warning in result.warnings],
        "refused": Strictness(MIN_QUALITY, False).refusal(result),
    }
    if result.structures is not None:
        row["mirrored"] = result.structures.mirrored
        row["exchanged"] = exchanged(result.structures.right, result.structures.left)
        if condition == CLEAN and entry.path_labels is not None:
            row |= against_labels(result.structures, read_labels(entry.path_labels, film.shape))
    return row


def exchanged(right: np.ndarray, left: np.ndarray) -> bool:
    """Whether what is called the right lung lies at the image's right: without a header it never may."""
    if not right.any() or not left.any():
        return False
    return bool(np.nonzero(right)[1].mean() > np.nonzero(left)[1].mean())


def against_labels(found: Any, labels: np.ndarray) -> dict[str, Any]:
    lungs = np.isin(labels, (RIGHT_LUNG, LEFT_LUNG))
    return {
        "dice_right": dice(found.right, labels == RIGHT_LUNG),
        "dice_left": dice(found.left, labels == LEFT_LUNG),
        "dice_heart": dice(found.heart, labels == HEART),
        "ctr": cardiothoracic_ratio(found.heart, found.right | found.left),
        "ctr_labels": cardiothoracic_ratio(labels == HEART, lungs),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    clean = [row for row in rows if row["condition"] == CLEAN]
    mirrored = [row for row in rows if row["condition"] == MIRRORED]
    corrupted = [row for row in rows if row["condition"] not in (CLEAN, MIRRORED)]
    told: dict[str, Any] = {}
    labelled = [row for row in clean if row.get("ctr_labels") is not None]
    if labelled:
        errors = [row["ctr"] - row["ctr_labels"] for row in labelled if row["ctr"] is not None]
        told["labelled"] = {
            "films": len(labelled),
            **{key: mean(row[key] for row in labelled) for key in ("dice_right", "dice_left", "dice_heart")},
            "ctr_films": len(errors),
            "ctr_mean_absolute_error": mean(abs(error) for error in errors),
            "ctr_bias": mean(errors),
            "ctr_worst": round(max(abs(error) for error in errors), 4),
        }
    if any("mirrored" in row for row in clean):
        warned = "mirrored-or-dextrocardia"
        told["sides"] = {
            "mirrored_films": len(mirrored),
            "mirrored_warned": sum(warned in row["warnings"] for row in mirrored),
            "other_films": len(clean),
            "others_warned": sum(warned in row["warnings"] for row in clean),
            "exchanged": sum(row.get("exchanged", False) for row in (*clean, *mirrored)),
        }
    scored = {"clean": clean, "corrupted": corrupted}
    told["quality"] = {
        name: quality(own) for name, own in scored.items() if own and own[0]["dice"] is not None
    }
    told["strict"] = {
        "clean_films": len(clean),
        "refused": sum(row["refused"] is not None for row in clean),
        "minimum": MIN_QUALITY,
    }
    if told["quality"]:
        told["risk_coverage"] = {name: curve(scored[name]) for name in told["quality"]}
    return told


def quality(rows: list[dict[str, Any]]) -> dict[str, Any]:
    truth = np.array([row["dice"] for row in rows])
    expected = np.array([row["quality"] or 0.0 for row in rows])
    patients = np.array([row["patient"] for row in rows])
    poor = truth < POOR
    found: dict[str, Any] = {
        "films": len(rows),
        "poor": int(poor.sum()),
        "mean_dice": round(float(truth.mean()), 4),
        "mean_expected": round(float(expected.mean()), 4),
        "mean_absolute_error": round(float(np.abs(truth - expected).mean()), 4),
    }
    if 0 < poor.sum() < len(poor):
        found["auroc"] = round(auroc(expected, poor), 4)
        found["auroc_95"] = interval(expected, poor, patients)
    return found


def auroc(expected: np.ndarray, poor: np.ndarray) -> float:
    """Return how often a poor film is expected to be worse than another one, ties half."""
    low, high = expected[poor][:, None], expected[~poor][None]
    return float((low < high).mean() + 0.5 * (low == high).mean())


def interval(expected: np.ndarray, poor: np.ndarray, patients: np.ndarray) -> list[float] | None:
    random, names = np.random.default_rng(0), np.unique(patients)
    films = {name: np.flatnonzero(patients == name) for name in names}
    drawn = []
    for _ in range(2000):
        chosen = np.concatenate([films[name] for name in random.choice(names, len(names))])
        if 0 < poor[chosen].sum() < len(chosen):
            drawn.append(auroc(expected[chosen], poor[chosen]))
    return [round(float(at), 4) for at in np.quantile(drawn, (0.025, 0.975))] if drawn else None


def curve(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Risk (1 - mean Dice) of the share of films that are kept, the least trusted left out first."""
    order = sorted(rows, key=lambda row: -(row["quality"] or 0.0))
    truth = np.array([row["dice"] for row in order])
    kept = [max(1, round(share * len(truth))) for share in np.arange(0.5, 1.01, 0.05)]
    return [
        {"coverage": round(count / len(truth), 3), "risk": round(float(1 - truth[:count].mean()), 5)}
        for count in kept
    ]


def mean(values: Any) -> float:
    return round(float(np.mean(list(values))), 4)


if __name__ == "__main__":
    main()
