"""Does a film keep a good VOI window, and lose a bad one? Every film of a manifest under windows of known worth.

`python benchmarks/windows.py --data MANIFEST` turns each film into a DICOM object of 12 bits in memory, gives it one
window at a time and reads it as any film is read. Good windows end at percentiles of the film that a station might
choose; bad ones show half of it, its upper third, or an 8-bit window's share. A window stays where reading gives no
notice. Writes benchmarks/results/windows.json: how many stayed, by window and by source.
"""

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pydicom
from machine import machine
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from adaloraqat.datasets.manifest import Entry, read_manifest
from adaloraqat.radiograph import read_film
from adaloraqat.radiograph.formats import as_film

RESULTS = Path(__file__).parent / "results" / "windows.json"
GOOD = ((0, 100), (0.1, 99.9), (0.5, 99.5), (1, 99), (2, 98), (5, 95), (10, 90))  # percentiles
BAD = ((0, 50), (60, 95))
EIGHT_BIT = (0.0, 256.0)
WHITE = 4095
LARGEST = 512  # pixels along the longer side: what a window clips does not depend on more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="films of each source, spread evenly")
    asked = parser.parse_args()
    films = Counter[str]()
    stayed: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in _chosen(read_manifest(asked.data), asked.limit):
        grey = read_film(entry.path_image).pixels
        step = max(1, -(-max(grey.shape) // LARGEST))
        levels = np.rint(grey[::step, ::step] * WHITE).astype(np.uint16)
        films[entry.source] += 1
        for name, window in _windows(levels).items():
            stayed[name][entry.source] += not _notices(levels, window)
        if films.total() % 100 == 0:
            print(f"{films.total()} films", flush=True)
    share = {
        name: {source: counts[source] / films[source] for source in films} for name, counts in stayed.items()
    }
    good = [f"good: {low} to {high} %" for low, high in GOOD]
    document = {
        "films": dict(films),
        "stayed": share,
        "stayed_of_good": sum(stayed[name].total() for name in good) / (len(good) * films.total()),
        "stayed_of_bad": sum(count.total() for name, count in stayed.items() if name not in good)
        / ((len(stayed) - len(good)) * films.total()),
        "machine": machine(),
        "command": "python benchmarks/windows.py --data MANIFEST",
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


def _chosen(entries: list[Entry], limit: int | None) -> list[Entry]:
    by_source = defaultdict(list)
    for entry in entries:
        by_source[entry.source].append(entry)
    return [
        members[at]
        for members in by_source.values()
        for at in np.unique(
            np.linspace(0, len(members) - 1, min(len(members), limit or len(members))).astype(int)
        )
    ]


def _windows(levels: NDArray[np.uint16]) -> dict[str, tuple[float, float]]:
    """Return the ends of each window on this film, in its levels."""
    found = {}
    for kind, percentiles in (("good", GOOD), ("bad", BAD)):
        for low, high in percentiles:
            ends = np.percentile(levels, (low, high))
            found[f"{kind}: {low} to {high} %"] = (float(ends[0]), float(max(ends[1], ends[0] + 1)))
    return found | {"bad: 8 bits": EIGHT_BIT}


def _notices(levels: NDArray[np.uint16], window: tuple[float, float]) -> tuple[str, ...]:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, pydicom.uid.generate_uid()
    dataset.Modality, dataset.ViewPosition, dataset.BodyPartExamined = "DX", "PA", "CHEST"
    dataset.Rows, dataset.Columns = levels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = levels.tobytes()
    low, high = window
    dataset.WindowCenter, dataset.WindowWidth = f"{(low + high) / 2:.8g}", f"{high - low:.8g}"
    dataset.VOILUTFunction = "LINEAR_EXACT"
    return tuple(notice for notice in as_film(dataset).notices if "VOI" in notice)


if __name__ == "__main__":
    main()
