"""The films that `lung-open` may learn from: both licences CC BY, and phantoms; nothing else.

    python benchmarks/open_films.py --data MANIFEST --out FOLDER

MANIFEST holds covid_v7 with its splits and a column `licence`. Writes FOLDER/open.csv (training and validation films
whose image and mask are both CC BY, and 24 phantoms of the same mask convention, all for training) and
FOLDER/FILMS.csv (id, collection, split, licence of each), which ships beside the model.
"""

import argparse
import csv
import re
from dataclasses import replace
from pathlib import Path

from adaloraqat.datasets.manifest import read_manifest, write_manifest
from adaloraqat.datasets.phantom import write_phantoms

BOTH_CC_BY = re.compile(r"image: CC BY [34]\.0; masks CC BY 4\.0")
PHANTOMS, SEED = 24, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    films = [
        film
        for film in read_manifest(options.data)
        if film.source == "covid_v7"
        and film.split in ("train", "val")
        and BOTH_CC_BY.fullmatch(film.licence or "")
    ]
    drawn = write_phantoms(options.out / "phantoms", PHANTOMS, seed=SEED, size=512, site="bedside")
    phantoms = [replace(film, split="train", licence="drawn by this package: Apache-2.0") for film in drawn]
    write_manifest(options.out / "open.csv", films + phantoms)
    with (options.out / "FILMS.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "collection", "split", "licence"])
        writer.writerows((film.id, film.source, film.split, film.licence) for film in films + phantoms)


if __name__ == "__main__":
    main()
