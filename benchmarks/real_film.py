"""The README's picture of a real film: truth, LiteMedSAM as published, and adapted.

    python benchmarks/real_film.py --data MANIFEST

MANIFEST holds film 0a7faa2a of covid_v7 (test split, licence CC BY 3.0): picked by hand from five
films under CC BY 3.0 that were looked at, as one near `lung-open`'s mean. The published model gets the whole film as its box,
which it was not trained for. Writes docs/images/real_film.png.
"""

import argparse
from pathlib import Path

from adaptation import ROOT

from adaloraqat import Segmenter
from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.measure.overlap import dice
from adaloraqat.radiograph import Box
from adaloraqat.report import style
from adaloraqat.report.pictures import Look, ModelMask, ShownFilm, panels, read_with_truth, write_strip

FILM = "0a7faa2a"
LOOK = Look(300, 2.0, 2.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    entry = next(film for film in read_manifest(parser.parse_args().data) if film.id == FILM)
    film, truth = read_with_truth(entry)
    height, width = film.shape
    whole = Box(0, 0, width, height)
    answers = {
        "published, box: whole film": (Segmenter.load("lite-medsam").segment(film, whole), style.BEFORE),
        "adapted: lung-open, 10 MB": (Segmenter.load("lung-open").segment(film), style.AFTER),
    }
    masks = tuple(
        ModelMask(name, dice(result.mask, truth), result.mask, colour)
        for name, (result, colour) in answers.items()
    )
    first, second, *models = panels(ShownFilm("median", FILM, film, truth, masks), LOOK)
    strip = [("Film", "no box drawn", first[2]), ("Truth", "yellow", second[2])]
    write_strip(
        ROOT / "docs/images/real_film.png",
        [*strip, *((name, f"Dice {value:.3f}", picture) for name, value, picture in models)],
    )


if __name__ == "__main__":
    main()
