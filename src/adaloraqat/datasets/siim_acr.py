"""SIIM-ACR Pneumothorax Segmentation: films of NIH ChestX-ray14 with outlines of pneumothorax, not of lungs.

As published (https://www.kaggle.com/c/siim-acr-pneumothorax-segmentation/data):
`dicom-images-train/<study>/<series>/<SOP instance UID>.dcm` and `train-rle.csv` (10,675 films) or
`stage_2_train.csv` (with the test films of stage 1 12,047), columns `ImageId, EncodedPixels` (in the first
with a space before the second). A film may have several rows, which are joined; `-1` says that there is no
pneumothorax. Run lengths are RELATIVE: each start counts from the end of the run before, and pixels are
counted DOWN the columns (`mask_functions.py` of the competition). 1024 x 1024 px.

Also the PNG edition (https://www.kaggle.com/datasets/vbookshelf/pneumothorax-chest-xray-images-and-masks, as
read by `siim_acr.py` of torch-em): `png_images/0_train_1_.png` with `png_masks/0_train_1_.png`.

The DICOM header gives the patient (hashed), the spacing and the view. Filice et al., J Digit Imaging 33:490,
2020.
"""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adaloraqat.datasets.listing import Drawn, Listed, Listing, Shape, by_stem, files_below, left_out, paired
from adaloraqat.errors import FilmError, ManifestError
from adaloraqat.radiograph.formats import DICOM_SUFFIXES

LICENCE = "films: NIH ChestX-ray14, citation required; outlines: rules of the SIIM-ACR competition"
_TABLES = ("stage_2_train.csv", "train-rle.csv", "stage_1_train.csv")
_NONE = "-1"
_DIAGNOSES = {False: "no pneumothorax", True: "pneumothorax"}


@dataclass(frozen=True)
class RunLengths:
    """A mask as relative run lengths down the columns: pixels to skip, pixels to set, and so on.

    The masks of several `texts` are joined.
    """

    name: str
    texts: tuple[str, ...]

    def draw(self, shape: Shape) -> Drawn:
        """See `MaskSource.draw`."""
        height, width = shape
        mask = np.zeros(height * width, dtype=bool)
        for text in self.texts:
            try:
                numbers = np.array([int(word) for word in text.split()], dtype=np.int64)
            except (ValueError, OverflowError):
                numbers = np.array([0], dtype=np.int64)
            # skip, set, skip, set ...: odd places of the running sum end a run, even ones begin it
            if len(numbers) % 2 or (numbers < 0).any() or int(numbers.sum()) > mask.size:
                raise FilmError(
                    f"The run lengths of {self.name} do not fit its {width} x {height} pixels: "
                    "restore its row in the CSV file."
                )
            ends = np.cumsum(numbers)
            for start, end in zip(ends[::2], ends[1::2], strict=True):
                mask[start:end] = True
        return Drawn(mask.reshape(width, height).T)


def list_siim_acr(root: Path, kind: str) -> Listing:
    """List the training films below `root` that have a row of run lengths, or a PNG mask.

    Raises:
        ManifestError: neither edition is there, or its CSV file cannot be read.

    """
    tables = {path.name: path for path in files_below(root, {".csv"})}
    table = next((tables[name] for name in _TABLES if name in tables), None)
    films = by_stem(
        path for path in files_below(root, DICOM_SUFFIXES) if "dicom-images-test" not in path.parts
    )
    if films and table is not None:
        return _list_dicom(films, _run_lengths(table), kind)
    pictures = files_below(root, {".png"})
    listing = _list_pictures(
        by_stem(path for path in pictures if path.parent.name == "png_images"),
        by_stem(path for path in pictures if path.parent.name == "png_masks"),
        kind,
    )
    if not listing.films:
        raise ManifestError(
            f"{root.name} holds no film of SIIM-ACR: give the folder with dicom-images-train and "
            "train-rle.csv, or with png_images and png_masks."
        )
    return listing


def _list_dicom(films: dict[str, Path], rows: dict[str, list[str]], kind: str) -> Listing:
    listed = [
        Listed(
            id=stem,
            source="siim_acr",
            image=path,
            mask=RunLengths(path.name, tuple(text for text in rows[stem] if text != _NONE)),
            outlines=kind,
            diagnosis=_DIAGNOSES[any(text != _NONE for text in rows[stem])],
            licence=LICENCE,
        )
        for stem, path in films.items()
        if stem in rows
    ]
    notices = left_out("film", films.keys() - rows.keys(), "without a row in the CSV file")
    notices += left_out("row", rows.keys() - films.keys(), "without a film")
    return Listing(tuple(listed), tuple(notices))


def _list_pictures(films: dict[str, Path], masks: dict[str, Path], kind: str) -> Listing:
    """List the PNG edition; `0_train_1_` says: number 0, for training, 1 = pneumothorax."""
    listed = []
    stems, notices = paired(films, masks)
    for stem in stems:
        words = stem.split("_")
        diagnosis = _DIAGNOSES[words[2] == "1"] if len(words) > 2 and words[2] in ("0", "1") else None
        listed.append(
            Listed(stem, "siim_acr", films[stem], masks[stem], stem, outlines=kind, diagnosis=diagnosis,
                   split="test" if "test" in words else "train", licence=LICENCE)
        )  # fmt: skip
    return Listing(tuple(sorted(listed, key=lambda film: film.id)), tuple(notices))


def _run_lengths(table: Path) -> dict[str, list[str]]:
    """Read {film: run length texts}, several rows of a film in their order."""
    rows: dict[str, list[str]] = defaultdict(list)
    try:
        with open(table, encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream, skipinitialspace=True):
                named = {str(name).strip(): cell for name, cell in row.items()}
                rows[named["ImageId"].strip()].append(named["EncodedPixels"].strip())
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        raise ManifestError(
            f"{table.name} is not the table of SIIM-ACR: its columns must be ImageId and EncodedPixels."
        ) from error
    return dict(rows)
