"""nnU-Net's raw format, both ways: `Dataset501_Lungs/{imagesTr,labelsTr,imagesTs,labelsTs,dataset.json}`.

Films are `imagesTr/<case>_0000.png`, label maps `labelsTr/<case>.png` (0 background, 1, 2, ...), and
`dataset.json` says `channel_names`, `labels`, `numTraining` and `file_ending`. Layout:
`documentation/dataset_format.md` of https://github.com/MIC-DKFZ/nnUNet (version 2). nnU-Net knows no
`labelsTs`; many data sets still have it. `splits_final.json`, a list of folds `{"train": [...], "val":
[...]}`, is what nnU-Net expects in `nnUNet_preprocessed/<dataset>/`; it is written, and read, beside
`dataset.json`.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.listing import Listed, Listing, files_below, left_out
from adaloraqat.datasets.manifest import LUNG_KINDS, Entry
from adaloraqat.datasets.mask_sources import LabelMap
from adaloraqat.datasets.names import plain_name
from adaloraqat.errors import ManifestError
from adaloraqat.files import write_json
from adaloraqat.progress import Progress, no_progress
from adaloraqat.radiograph import HEART, LEFT_LUNG, RIGHT_LUNG, read_film, read_mask, write_png
from adaloraqat.radiograph.formats import PICTURE_SUFFIXES
from adaloraqat.renamed import renamed_arguments

_NAME = re.compile(r"Dataset\d{3}_\w+")
_CHANNEL = "_0000"
_SIDES = {"right lung": RIGHT_LUNG, "left lung": LEFT_LUNG, "heart": HEART}


def list_nnunet(root: Path, kind: str | None) -> Listing:
    """List the films of a raw data set; `kind` chooses among its labels by their names.

    `imagesTr` counts as train (or train and val by the first fold of `splits_final.json`), `imagesTs` as
    test.

    Raises:
        ManifestError: no `dataset.json`, another format than pictures of one channel, or no label of `kind`.

    """
    description = _description(root)
    ending = description["file_ending"].lower()
    if ending not in PICTURE_SUFFIXES:
        raise ManifestError(
            f"The films of {root.name} are {ending} files: only pictures (.png, .bmp, .tif) can be indexed; "
            "convert them first."
        )
    if any((root / "imagesTr").glob("*_0001.*")):
        raise ManifestError(f"{root.name} has several channels per film: an X-ray has one.")
    foreground = _foreground(description)
    chosen, outlines = _chosen(foreground, kind, root.name)
    folds = _first_fold(root / "splits_final.json")
    listed: list[Listed] = []
    notices: list[str] = []
    for part, split in (("Tr", "train"), ("Ts", "test")):
        images = _cases(root / f"images{part}", ending)
        labels = {path.stem: path for path in _files(root / f"labels{part}", ending)}
        for case in images.keys() & labels.keys():
            listed.append(
                Listed(
                    id=case,
                    source=root.name,
                    image=images[case],
                    mask=LabelMap(labels[case], tuple(chosen.values()), _sides(foreground)),
                    split=folds.get(case, split),
                    outlines=outlines,
                    licence=str(description.get("licence") or description.get("license") or "") or None,
                )
            )
        notices += left_out("film", images.keys() - labels.keys(), f"in images{part} without labels")
    if not listed:
        raise ManifestError(f"{root.name} holds no film in imagesTr with its labels in labelsTr.")
    return Listing(tuple(sorted(listed, key=lambda film: film.id)), tuple(notices))


@renamed_arguments(track="progress")
def write_nnunet(
    entries: Iterable[Entry], folder: str | os.PathLike[str], name: str, progress: Progress = no_progress
) -> None:
    """Write `entries` as the raw data set `folder/name`, which nnU-Net can plan and train.

    Films of train and val (and without a split) go to `imagesTr`, those of test to `imagesTs` with
    `labelsTs`; `splits_final.json` keeps train and val apart. A film is written as 8-bit PNG where that loses
    nothing, else 16-bit; its label is 1 inside the mask. Files are named by `case_name`. `dataset.json` is
    written last: where it stands, the data set is whole.

    Raises:
        ManifestError: no entry for training, or `name` is not like Dataset501_Lungs.
        FilmError: a film or a mask cannot be read.
        OutputError: a file cannot be written.

    """
    entries = list(entries)
    if not _NAME.fullmatch(name):
        raise ManifestError(f"{name!r} is not a name for nnU-Net: give one like Dataset501_Lungs.")
    training = [entry for entry in entries if entry.split != "test"]
    if not training:
        raise ManifestError(
            "nnU-Net needs films to train with: the manifest has only films of the split test."
        )
    root = Path(folder) / name
    for entry in progress(entries, "films"):
        part = "Ts" if entry.split == "test" else "Tr"
        case = case_name(entry.id)
        film = read_film(entry.path_image)
        mask = read_mask(entry.path_mask, film.shape)
        write_png(root / f"images{part}" / f"{case}{_CHANNEL}.png", _stored(film.pixels))
        write_png(root / f"labels{part}" / f"{case}.png", mask.astype(np.uint8))
    validation = [case_name(entry.id) for entry in training if entry.split == "val"]
    if validation:
        fitted = [case_name(entry.id) for entry in training if entry.split != "val"]
        write_json(root / "splits_final.json", [{"train": sorted(fitted), "val": sorted(validation)}])
    kinds = {entry.outlines for entry in entries}
    label = (kinds.pop() if len(kinds) == 1 else None) or "mask"
    document = {
        "channel_names": {"0": "X-ray"},
        "labels": {"background": 0, label: 1},
        "numTraining": len(training),
        "file_ending": ".png",
    }
    write_json(root / "dataset.json", document)


def read_predictions(folder: str | os.PathLike[str], entries: Iterable[Entry]) -> dict[str, Path]:
    """Return {entry id: label picture} of what `nnUNetv2_predict` wrote to `folder`.

    A film without a prediction is missing in the answer: who scores must count it as failed.

    Raises:
        ManifestError: there is no prediction of any entry.

    """
    folder = Path(folder)
    files = {entry.id: folder / f"{case_name(entry.id)}.png" for entry in entries}
    found = {identity: path for identity, path in files.items() if path.is_file()}
    if not found:
        raise ManifestError(
            f"{folder.name} holds no prediction of these films: give the output folder of nnUNetv2_predict."
        )
    return found


def case_name(identity: str) -> str:
    """Return the case identifier of a film's id; see `names.plain_name`."""
    return plain_name(identity)


def _description(root: Path) -> dict[str, Any]:
    try:
        document = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
        if not isinstance(document["labels"], dict) or not isinstance(document["file_ending"], str):
            raise TypeError("labels or file_ending")
    except OSError as error:
        raise ManifestError(
            f"{root.name} has no dataset.json: give one data set of nnUNet_raw, such as Dataset501_Lungs."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(
            f"The dataset.json of {root.name} is not that of nnU-Net version 2: "
            "it must hold file_ending and labels."
        ) from error
    return dict(document)


def _foreground(description: dict[str, Any]) -> dict[str, int]:
    """Return {label name: value} without background, ignored pixels and regions of several labels."""
    labels = {
        name.lower(): value for name, value in description["labels"].items() if name.lower() != "ignore"
    }
    return {name: value for name, value in labels.items() if isinstance(value, int) and value > 0}


def _chosen(foreground: dict[str, int], kind: str | None, name: str) -> tuple[dict[str, int], str]:
    """Return the labels of `kind`, and what they outline; all where no kind is asked for."""
    if kind is None:
        lungs = all("lung" in label for label in foreground)
        only = next(iter(foreground)) if len(foreground) == 1 else " and ".join(foreground)
        known = only if only in LUNG_KINDS else "lungs"
        return foreground, known if lungs else only
    word = "lung" if kind in LUNG_KINDS else kind.rstrip("s")
    chosen = {label: value for label, value in foreground.items() if word in label}
    if not chosen:
        raise ManifestError(
            f"{name} outlines {', '.join(foreground) or 'nothing'}, not {kind}: choose one of these."
        )
    return chosen, kind


def _sides(foreground: dict[str, int]) -> tuple[tuple[int, int], ...]:
    named = {name.replace("_", " "): value for name, value in foreground.items()}
    if not {"right lung", "left lung"} <= named.keys():
        return ()
    return tuple((label, named[name]) for name, label in _SIDES.items() if name in named)


def _cases(folder: Path, ending: str) -> dict[str, Path]:
    return {
        path.stem.removesuffix(_CHANNEL): path
        for path in _files(folder, ending)
        if path.stem.endswith(_CHANNEL)
    }


def _files(folder: Path, ending: str) -> Sequence[Path]:
    return files_below(folder, {ending}) if folder.is_dir() else []


def _first_fold(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        fold = json.loads(path.read_text(encoding="utf-8"))[0]
        return {case: split for split in ("train", "val") for case in fold[split]}
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ManifestError(
            f"{path.name} is not a list of folds with train and val: restore it, or remove it."
        ) from error


def _stored(pixels: NDArray[np.float32]) -> NDArray[Any]:
    """Return [0, 1] pixels as 8-bit numbers where they are multiples of 1/255, else as 16-bit."""
    eight = np.rint(pixels * 255)
    if np.abs(pixels * 255 - eight).max() < 1e-3:
        return eight.astype(np.uint8)
    return np.rint(pixels * 65535).astype(np.uint16)
