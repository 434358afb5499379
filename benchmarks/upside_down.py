"""How surely `adaloraqat segment` tells a film that lies upside down.

    python benchmarks/upside_down.py --data MANIFEST

MANIFEST holds real films with splits. The rule (`looks_upside_down`) and its limits come from training films; films
of train and val are judged here as they are and turned by 180 degrees, also mirrored; val films under the fixed corruptions of
`radiograph.corrupt`, on sheets and cut; phantoms of every site too. Both shipped models segment the val films
turned: Dice against the turned truth, and who would have been warned. Writes benchmarks/results/upside_down.json.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from numpy.typing import NDArray

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.plausibility import plausibility_warnings
from adaloraqat.datasets.manifest import Entry, read_manifest, select
from adaloraqat.datasets.phantom import PHANTOM_SITES, draw_phantom
from adaloraqat.measure.overlap import dice
from adaloraqat.radiograph import read_film, read_mask
from adaloraqat.radiograph.corrupt import CORRUPTIONS, corrupt

RESULT = Path(__file__).resolve().parent / "results/upside_down.json"
MODELS = ("lung-field-fast", "lung-whole-fast")
PHANTOMS = 100
BAD = 0.8  # Dice

Pixels = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    entries = read_manifest(options.data)
    films = {
        split: [read_film(e.path_image).pixels for e in select(entries, split)] for split in ("train", "val")
    }
    result: dict[str, Any] = {"command": "python benchmarks/upside_down.py --data MANIFEST"}
    for split, every in films.items():
        result[split] = {
            "as it is": rates(every),
            "mirrored": rates(pixels[:, ::-1] for pixels in every),
        }
        print(split, result[split], flush=True)
    result["milliseconds"] = milliseconds(films["val"])
    result["val changed"] = {}
    for name, change in CHANGES.items():
        result["val changed"][name] = changed(films["val"], change)
        print(name, result["val changed"][name], flush=True)
    result["phantoms"] = {
        site: rates(draw_phantom(seed, 256, site).pixels for seed in range(PHANTOMS))
        for site in PHANTOM_SITES
    }
    result["models"] = {name: segmented(name, select(entries, "val")) for name in MODELS}
    RESULT.write_text(json.dumps(result | {"machine": machine()}, indent=1) + "\n")
    print(json.dumps({key: result[key] for key in ("milliseconds", "phantoms", "models")}))


def warned(pixels: Pixels) -> bool:
    nothing = np.zeros(pixels.shape, bool)
    return any(
        text.startswith("upside-down:")
        for text in plausibility_warnings(pixels, nothing, nothing.astype(np.float32))
    )


def rates(films: Iterable[Pixels]) -> dict[str, Any]:
    """The share of films that are warned of as they lie, and turned by 180 degrees."""
    both = np.array([(warned(pixels), warned(pixels[::-1, ::-1])) for pixels in films])
    return shares(both)


def shares(both: NDArray[np.bool_]) -> dict[str, Any]:
    upright, turned = both.mean(axis=0).round(4).tolist()
    return {"films": len(both), "upright warned": upright, "turned warned": turned}


def changed(films: list[Pixels], change: Callable[[Pixels, int], Pixels]) -> dict[str, Any]:
    """As `rates`, of films that were turned before the change."""
    return shares(
        np.array(
            [
                (warned(change(pixels, seed)), warned(change(np.ascontiguousarray(pixels[::-1, ::-1]), seed)))
                for seed, pixels in enumerate(films)
            ]
        )
    )


def corrupted(name: str, pixels: Pixels, seed: int) -> Pixels:
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(corrupt(name, pixels, np.ones(pixels.shape, bool), seed).content)
        file.flush()
        return read_film(Path(file.name)).pixels


def on_a_sheet(level: float, pixels: Pixels, seed: int) -> Pixels:
    height, width = pixels.shape
    margins = ((height // 5, height // 10), (width // 20, width // 4))
    return np.pad(pixels, margins, constant_values=level)


def part(top: float, bottom: float, left: float, right: float, pixels: Pixels, seed: int) -> Pixels:
    height, width = pixels.shape
    return pixels[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]


def lying_on_a_side(pixels: Pixels, seed: int) -> Pixels:
    return np.rot90(pixels)


def not_righted(pixels: Pixels, seed: int) -> Pixels:
    return 1 - pixels


CHANGES: dict[str, Callable[[Pixels, int], Pixels]] = {
    **{name: partial(corrupted, name) for name in CORRUPTIONS},
    "black sheet": partial(on_a_sheet, 0.0),
    "grey sheet": partial(on_a_sheet, 0.5),
    "white sheet": partial(on_a_sheet, 1.0),
    "20 % cut off at each edge": partial(part, 0.2, 0.8, 0.2, 0.8),
    "a quarter cut off at the upper edge": partial(part, 0.25, 1, 0, 1),
    "a quarter cut off at the lower edge": partial(part, 0, 0.75, 0, 1),
    "the image's left half": partial(part, 0, 1, 0, 0.5),
    "lying on a side": lying_on_a_side,
    "negative array, not righted": not_righted,
}


def milliseconds(films: list[Pixels]) -> dict[str, float]:
    """Of all rules about the film, at the films' own size and at 2048 x 2048."""
    large = np.kron(films[0], np.ones((4, 4), np.float32))[:2048, :2048]
    started = time.perf_counter()
    for pixels in films:
        warned(pixels)
    between = time.perf_counter()
    for _ in range(20):
        warned(large)
    ended = time.perf_counter()
    return {
        "shared films": round(1000 * (between - started) / len(films), 2),
        f"{large.shape[0]} px": round(1000 * (ended - between) / 20, 2),
    }


def segmented(model: str, entries: list[Entry]) -> dict[str, Any]:
    """Segment films and the same turned; masks are compared with the truth turned alike."""
    segmenter = Segmenter.load(model, threads=1)
    rows = []
    false_alarms = 0
    for entry in entries:
        film = read_film(entry.path_image)
        assert entry.path_mask is not None
        truth = read_mask(entry.path_mask, film.shape)
        pixels = np.ascontiguousarray(film.pixels[::-1, ::-1])
        result = segmenter.segment(pixels)
        codes = {text.partition(":")[0] for text in result.warnings}
        rows.append(
            (dice(result.mask, truth[::-1, ::-1]), "upside-down" in codes, bool(codes - {"upside-down"}))
        )
        upright = segmenter.segment(film)
        false_alarms += any(text.startswith("upside-down:") for text in upright.warnings)
    scores, found, others = (np.array(column) for column in zip(*rows, strict=True))
    bad = scores < BAD
    return {
        "films": len(rows),
        "upright warned": round(false_alarms / len(rows), 4),
        "turned": {
            "mean dice": round(float(scores.mean()), 4),
            "warned": round(float(found.mean()), 4),
            "warned by other rules": round(float(others.mean()), 4),
            f"dice below {BAD}": int(bad.sum()),
            f"dice below {BAD}, warned": int((bad & found).sum()),
            f"dice below {BAD}, warned by other rules": int((bad & others).sum()),
        },
    }


if __name__ == "__main__":
    main()
