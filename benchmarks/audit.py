"""How fast and how well `adaloraqat data audit` looks.

    python benchmarks/audit.py --data MANIFEST [--dicom FOLDER] [--films 80]

MANIFEST holds real films with splits (at most 512 px in the shared set); films of 1024 px are made from phantoms.
Speed with as many processes as there are cores; copies planted in memory among real films; films turned
and halved, which the frontal chest check should notice. Writes benchmarks/results/audit.json.
"""

import argparse
import io
import json
import os
import resource
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from adaptation import ROOT, machine
from PIL import Image, ImageOps

from adaloraqat.datasets.audit.audit import audit
from adaloraqat.datasets.audit.duplicates import find_duplicates
from adaloraqat.datasets.audit.film_checks import NOT_CHEST, FilmRecord
from adaloraqat.datasets.audit.perceptual_hash import thumbnail
from adaloraqat.datasets.audit.workers import available_cores
from adaloraqat.datasets.manifest import Entry, read_manifest
from adaloraqat.datasets.phantom import draw_phantom
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import find_films, read_film
from adaloraqat.radiograph.inverted import chest_likeness, looks_inverted

PUBLISHED = 21_165  # films of COVID-19 Radiography: the size the audit must master in 20 minutes
EVERY = 6
RESULT = ROOT / "benchmarks/results/audit.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dicom", type=Path, help="a folder with not_chest/ films of other body parts")
    parser.add_argument("--films", type=int, default=80, help="how many films of 1024 px")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure only this; the rest is kept")
    options = parser.parse_args()
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    entries = read_manifest(options.data)
    for part in options.only or PARTS:
        result[part] = PARTS[part](options, entries) | {"machine": machine()}
        result["command"] = "python benchmarks/audit.py --data MANIFEST --dicom FOLDER"
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        print(part, json.dumps(result[part]), flush=True)


def timed(path: Path, entries: list[Entry]) -> dict[str, Any]:
    """Audit a manifest. Films a second of two idle cores follow from processor time, which other work spares."""
    before = processor_seconds()
    timing = audit([(path, entries)], available_cores()).document["timing"]
    seconds = processor_seconds() - before
    return {
        "films": len(entries),
        "films_per_second_measured": timing["images_per_second"],
        "load_average": round(os.getloadavg()[0], 1),
        "processor_ms_per_film": round(1000 * seconds / len(entries), 1),
        "films_per_second_of_two_idle_cores": round(2 * len(entries) / seconds, 1),
        "peak_rss_mb": {"main": peak(resource.RUSAGE_SELF), "largest_worker": peak(resource.RUSAGE_CHILDREN)},
    }


def real_speed(options: argparse.Namespace, entries: list[Entry]) -> dict[str, Any]:
    return timed(options.data, entries)


def large_speed(options: argparse.Namespace, entries: list[Entry]) -> dict[str, Any]:
    """Audit PNG films of 1024 px, mixed from three phantoms."""
    random = np.random.default_rng(0)
    drawn = [draw_phantom(seed, 1024) for seed in range(3)]
    with tempfile.TemporaryDirectory() as name:
        folder, made = Path(name), []
        for number in range(options.films):
            a, b = random.choice(len(drawn), 2, replace=False)
            mixed = 0.6 * drawn[a].pixels + 0.4 * np.roll(drawn[b].pixels, random.integers(-90, 90), axis=1)
            image, mask = folder / f"{number}.png", folder / f"{number}-mask.png"
            Image.fromarray((mixed * 255).astype(np.uint8)).save(image)
            Image.fromarray(drawn[a].mask).convert("L").save(mask)
            made.append(Entry(str(number), "phantom", str(number), None, image, mask))
        return timed(folder / "manifest.csv", made)


def many(options: argparse.Namespace, entries: list[Entry]) -> dict[str, Any]:
    """Compare as many thumbnails as the largest published source has films, each mixed from two real ones."""
    random = np.random.default_rng(1)
    thumbs = thumbnails([picture(entry) for entry in entries[::EVERY]])
    records = []
    for number in range(PUBLISHED):
        a, b = random.choice(len(thumbs), 2, replace=False)
        weight = random.uniform(0.3, 0.7)
        mixed = weight * thumbs[a] + (1 - weight) * np.roll(thumbs[b], random.integers(-5, 6), axis=(0, 1))
        records.append(FilmRecord(str(number), str(number).encode(), mixed.astype(np.uint8), False, None, ()))
    before, started = processor_seconds(), time.perf_counter()
    find_duplicates(records, {str(n): n for n in range(PUBLISHED)}, available_cores())
    return {
        "films": PUBLISHED,
        "seconds_measured": round(time.perf_counter() - started, 1),
        "processor_seconds": round(processor_seconds() - before, 1),
        "load_average": round(os.getloadavg()[0], 1),
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


def planted(options: argparse.Namespace, entries: list[Entry]) -> dict[str, Any]:
    """Plant a changed copy of every sixth film among every second; count copies found and pairs that are none."""
    entries = entries[::2]
    films = [picture(entry) for entry in entries]
    originals = records_of([entry.id for entry in entries], thumbnails(films))
    patients = {e.id: (e.source, e.patient_id) for e in entries}
    return {name: share_found(change, films, originals, patients) for name, change in CHANGES.items()}


def share_found(
    change: Any, films: list[Image.Image], originals: list[FilmRecord], patients: dict[str, Any]
) -> dict[str, Any]:
    numbers = range(0, len(films), EVERY // 2)
    names = [f"copy of {originals[number].id}" for number in numbers]
    copies = records_of(names, thumbnails([change(films[number]) for number in numbers]))
    found, _ = find_duplicates([*originals, *copies], patients | {name: name for name in names})
    pairs = {frozenset((pair.a, pair.b)) for pair in found}
    wanted = {frozenset((originals[n].id, name)) for n, name in zip(numbers, names, strict=True)}
    share = round(len(pairs & wanted) / len(wanted), 4)
    return {"planted": len(wanted), "found": share, "false_pairs": len(pairs - wanted)}


def chest_check(options: argparse.Namespace, entries: list[Entry]) -> dict[str, Any]:
    arrays = [np.asarray(picture(entry), np.float32) for entry in entries[::4]]
    halves = [half for a in arrays for half in (a[:, : a.shape[1] // 2], a[:, a.shape[1] // 2 :])]
    result: dict[str, Any] = {
        "threshold": NOT_CHEST,
        "turned_by_90_reported": reported([np.rot90(a) for a in arrays]),
        "turned_by_180_reported": reported([np.rot90(a, 2) for a in arrays]),
        "one_lung_reported": reported(halves),
    }
    if options.dicom is not None:
        others = []
        for path in find_films(options.dicom / "not_chest"):
            with suppress(FilmError):
                others.append(read_film(path).pixels)
        result["other_body_parts"] = {
            "readable": len(others),
            "reported": round(reported(others) * len(others)),
        }
    return result


def reported(arrays: list[np.ndarray]) -> float:
    """The share that does not look like a chest film; what looks like a negative is righted first."""
    likeness = [chest_likeness(-array if looks_inverted(array) else array) for array in arrays]
    return round(float(np.mean([value < NOT_CHEST for value in likeness])), 3)


def records_of(names: list[str], thumbs: np.ndarray) -> list[FilmRecord]:
    return [FilmRecord(n, n.encode(), t, False, None, ()) for n, t in zip(names, thumbs, strict=True)]


def thumbnails(films: list[Image.Image]) -> np.ndarray:
    return np.stack([thumbnail(np.asarray(film, np.float32) / 255) for film in films])


def picture(entry: Entry) -> Image.Image:
    return Image.fromarray((read_film(entry.path_image).pixels * 255 + 0.5).astype(np.uint8))


def peak(who: int) -> int:
    return round(resource.getrusage(who).ru_maxrss / 1024)


def processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


PARTS = {
    "real_films": real_speed,
    "films_of_1024_px": large_speed,
    "planted_copies": planted,
    "frontal_chest_check": chest_check,
    "comparing_21165_films": many,
}

if __name__ == "__main__":
    main()
