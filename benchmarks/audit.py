"""How fast and how well `adaloraqat data audit` looks.

    python benchmarks/audit.py --data MANIFEST [--dicom FOLDER] [--films 240]

MANIFEST holds real films with splits (at most 512 px in the shared set); films of 1024 px are made from phantoms.
Speed with as many processes as there are cores; copies planted in memory (one changed copy of every sixth film among
all films); films turned and halved, which a frontal chest check should notice. Writes benchmarks/results/audit.json.
"""

import argparse
import io
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from adaptation import ROOT, machine
from PIL import Image, ImageOps

from adaloraqat.datasets.audit.audit import audit
from adaloraqat.datasets.audit.duplicates import find_duplicates
from adaloraqat.datasets.audit.film_checks import NOT_CHEST
from adaloraqat.datasets.audit.record import FilmRecord
from adaloraqat.datasets.audit.thumbnail import thumbnail
from adaloraqat.datasets.audit.workers import available_cores
from adaloraqat.datasets.manifest import Entry, read_manifest
from adaloraqat.datasets.phantom import draw_phantom
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import find_films, read_film
from adaloraqat.radiograph.inverted import chest_likeness

PUBLISHED = 21_165  # films of COVID-19 Radiography: the size the audit must master in 20 minutes
EVERY = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dicom", type=Path, help="a folder with not_chest/ films of other body parts")
    parser.add_argument("--films", type=int, default=240, help="how many films of 1024 px")
    options = parser.parse_args()
    entries = read_manifest(options.data)
    speed = {"real": real_speed(options.data, entries), "large_1024px": large_speed(options.films)}
    films = [picture(entry) for entry in entries]
    thumbs = np.stack([thumbnail(np.asarray(film, np.float32) / 255) for film in films])
    speed["duplicates_21165"] = many(thumbs)
    slowest = min(speed["real"]["films_per_second"], speed["large_1024px"]["films_per_second"])
    minutes = (PUBLISHED / slowest + speed["duplicates_21165"]["seconds"]) / 60
    result = {
        "speed": speed | {"minutes_for_21165_films": round(minutes, 1), "cores": available_cores()},
        "planted_copies": {name: planted(entries, films, thumbs, name) for name in CHANGES},
        "without_planted_copies": pairs_without(entries, thumbs),
        "frontal_chest_check": chest_check(films, options.dicom),
        "machine": machine(),
        "command": "python benchmarks/audit.py --data MANIFEST --dicom FOLDER",
    }
    path = ROOT / "benchmarks/results/audit.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def real_speed(path: Path, entries: list[Entry]) -> dict[str, Any]:
    """Audit the manifest twice, and half of it: memory must not grow with the films."""
    timing = [audit([(path, entries)], available_cores()).document["timing"] for _ in range(2)]
    best = min(t["films_seconds"] for t in timing)
    return {
        "films": len(entries),
        "films_per_second": round(len(entries) / best, 1),
        "duplicates_seconds": timing[-1]["duplicates_seconds"],
        "peak_rss_mb": {"main": peak(resource.RUSAGE_SELF), "largest_worker": peak(resource.RUSAGE_CHILDREN)},
    }


def large_speed(count: int) -> dict[str, Any]:
    """Audit films of 1024 px, PNG, mixed from a few phantoms so that no two are copies."""
    random = np.random.default_rng(0)
    drawn = [draw_phantom(seed, 1024) for seed in range(8)]
    with tempfile.TemporaryDirectory() as name:
        folder, entries = Path(name), []
        for number in range(count):
            a, b = random.choice(len(drawn), 2, replace=False)
            mixed = 0.6 * drawn[a].pixels + 0.4 * np.roll(drawn[b].pixels, random.integers(-90, 90), axis=1)
            image, mask = folder / f"{number}.png", folder / f"{number}-mask.png"
            Image.fromarray((mixed * 255).astype(np.uint8)).save(image)
            Image.fromarray(drawn[a].mask).convert("L").save(mask)
            entries.append(Entry(str(number), "phantom", str(number), None, image, mask))
        timing = [
            audit([(folder / "m.csv", entries)], available_cores()).document["timing"] for _ in range(2)
        ]
    return {"films": count, "films_per_second": round(count / min(t["films_seconds"] for t in timing), 1)}


def many(thumbs: np.ndarray) -> dict[str, Any]:
    """Compare as many thumbnails as the largest published source has films, each mixed from two real ones."""
    random = np.random.default_rng(1)
    records = []
    for number in range(PUBLISHED):
        a, b = random.choice(len(thumbs), 2, replace=False)
        weight = random.uniform(0.3, 0.7)
        mixed = weight * thumbs[a] + (1 - weight) * np.roll(thumbs[b], random.integers(-5, 6), axis=(0, 1))
        records.append(FilmRecord(str(number), str(number).encode(), mixed.astype(np.uint8), False, None, ()))
    started = time.perf_counter()
    found, _ = find_duplicates(records, {str(n): n for n in range(PUBLISHED)}, available_cores())
    seconds = round(time.perf_counter() - started, 1)
    return {
        "films": PUBLISHED,
        "seconds": seconds,
        "pairs": len(found),
        "peak_rss_mb": peak(resource.RUSAGE_SELF),
    }


def jpeg(film: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    film.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("L")


def cut(film: Image.Image, most: float) -> Image.Image:
    """Take up to a share `most` off each edge, other shares for other films but always the same."""
    random = np.random.default_rng(film.width * 10_007 + film.height + int(np.asarray(film).sum()) % 1000)
    left, top, right, bottom = random.uniform(0, most, 4)
    box = (left * film.width, top * film.height, (1 - right) * film.width, (1 - bottom) * film.height)
    return film.crop(tuple(int(side) for side in box))


CHANGES = {
    "JPEG quality 75": lambda film: jpeg(film, 75),
    "JPEG quality 30": lambda film: jpeg(film, 30),
    "256 x 256, JPEG 85": lambda film: jpeg(film.resize((256, 256)), 85),
    "128 px": lambda film: film.resize((128, 128)),
    "brighter by a quarter": lambda film: film.point(lambda value: min(255, value * 1.25)),
    "half the contrast": lambda film: film.point(lambda value: 64 + value * 0.5),
    "gamma 0.6": lambda film: film.point(lambda value: 255 * (value / 255) ** 0.6),
    "histogram equalised": ImageOps.equalize,
    "cut by up to 3 % an edge": lambda film: cut(film, 0.03),
    "cut by up to 5 % an edge": lambda film: cut(film, 0.05),
    "cut by up to 8 % an edge": lambda film: cut(film, 0.08),
    "black frame": lambda film: ImageOps.expand(film, (40, 10, 20, 0)),
    "turned by 2 degrees": lambda film: film.rotate(2, resample=Image.Resampling.BILINEAR),
    "mirrored": ImageOps.mirror,
    "upside down": lambda film: film.rotate(180),
    "negative": ImageOps.invert,
    "cut 5 %, equalised, JPEG 50": lambda film: jpeg(ImageOps.equalize(cut(film, 0.05)), 50),
}


def planted(entries: list[Entry], films: list[Image.Image], thumbs: np.ndarray, name: str) -> dict[str, Any]:
    """Plant a changed copy of every sixth film among all; count the copies found and the pairs that are none."""
    records = [
        FilmRecord(e.id, e.id.encode(), t, False, None, ()) for e, t in zip(entries, thumbs, strict=True)
    ]
    wanted = []
    for number in range(0, len(entries), EVERY):
        copy = CHANGES[name](films[number])
        thumb = thumbnail(np.asarray(copy, np.float32) / 255)
        label = f"copy of {entries[number].id}"
        records.append(FilmRecord(label, label.encode(), thumb, False, None, ()))
        wanted.append(frozenset((entries[number].id, label)))
    patients = {e.id: (e.source, e.patient_id) for e in entries} | {
        r.id: r.id for r in records[len(entries) :]
    }
    found = {frozenset((pair.a, pair.b)) for pair in find_duplicates(records, patients, available_cores())[0]}
    return {
        "planted": len(wanted),
        "found": round(len(found & set(wanted)) / len(wanted), 4),
        "false_pairs": len(found - set(wanted)),
    }


def pairs_without(entries: list[Entry], thumbs: np.ndarray) -> dict[str, Any]:
    records = [
        FilmRecord(e.id, e.id.encode(), t, False, None, ()) for e, t in zip(entries, thumbs, strict=True)
    ]
    copies, alike = find_duplicates(records, {e.id: (e.source, e.patient_id) for e in entries})
    return {"copies": len(copies), "look_alikes": [[p.a, p.b, p.similarity] for p in alike]}


def chest_check(films: list[Image.Image], dicom: Path | None) -> dict[str, Any]:
    arrays = [np.asarray(film, np.float32) for film in films]
    halves = [half for a in arrays[::4] for half in (a[:, : a.shape[1] // 2], a[:, a.shape[1] // 2 :])]
    result = {
        "threshold": NOT_CHEST,
        "real_films_reported": sum(chest_likeness(a) < NOT_CHEST for a in arrays),
        "turned_by_90_reported": reported([np.rot90(a) for a in arrays[::4]]),
        "turned_by_180_reported": reported([np.rot90(a, 2) for a in arrays[::4]]),
        "one_lung_reported": reported(halves),
    }
    if dicom is not None:
        others = []
        for path in find_films(dicom / "not_chest"):
            try:
                others.append(read_film(path).pixels)
            except FilmError:
                continue
        result["other_body_parts"] = {
            "readable": len(others),
            "reported": sum(chest_likeness(a) < NOT_CHEST for a in others),
        }
    return result


def reported(arrays: list[np.ndarray]) -> float:
    """The share that is reported, as no chest film or, where it looks like a negative, as inverted."""
    return round(float(np.mean([chest_likeness(array) < NOT_CHEST for array in arrays])), 3)


def picture(entry: Entry) -> Image.Image:
    return Image.fromarray((read_film(entry.path_image).pixels * 255 + 0.5).astype(np.uint8))


def peak(who: int) -> int:
    return round(resource.getrusage(who).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
