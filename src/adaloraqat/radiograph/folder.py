"""Find the films in a folder."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.jsrt_img import is_jsrt
from adaloraqat.radiograph.kinds import FILM_SUFFIXES, KINDS, Kind, kind_of
from adaloraqat.radiograph.npz import is_segmentation
from adaloraqat.radiograph.walk import walk

_IMAGES = re.compile(r"^(images?|imgs?|films?|cxr|dicoms?)([^a-z].*|tr|ts)?$|_(images?|png)$")
_MASKS = re.compile(r"masks?\b|mask[_s]|^(labels?|gts?|annotations?|segmentations?|segs?)([^a-z].*|tr|ts)?$")
_OUTPUTS = ("_mask.png", "_overlay.png")


def find_films(path: str | os.PathLike[str]) -> list[Path]:
    """Return the films at `path`: itself if it is a file, else those below the folder, sorted by path.

    A film is known by its suffix, or by the DICOM magic where the name has none (or a number, as in UIDs).
    Hidden files and folders, the tool's own `*_mask.png` and `*_overlay.png`, and npz files of masks alone
    (`segs`, `gts`) are skipped; and so is a folder of masks or labels that lies beside one of images, as in a
    data set's `images/` and `masks/`. Given by itself, such a folder is searched. Linked subfolders are
    searched as any other, by the rules of `walk`.

    Raises:
        FilmError: no such path, or a folder without films.
    """
    path = Path(path)
    if not path.exists():
        raise FilmError(f"{path.name} does not exist: check the path.")
    if not path.is_dir():
        return [path]
    films = []
    for folder, names in walk(path, _searched):
        films += [folder / name for name in names if _is_film(folder / name)]
    if not films:
        raise FilmError(f"The folder {path.resolve().name} holds no films: give one with {KINDS} files.")
    return sorted(films)


def _searched(folders: Sequence[str]) -> list[str]:
    """Return the subfolders to search: beside films, as data sets are laid out, masks are no films."""
    open_folders = [name for name in folders if not name.startswith(".")]
    masks = [name for name in open_folders if _MASKS.search(name.lower())]
    films = [name for name in open_folders if name not in masks and _IMAGES.search(name.lower())]
    return [name for name in open_folders if name not in masks] if films else open_folders


def _is_film(path: Path) -> bool:
    if path.name.startswith(".") or path.name.endswith(_OUTPUTS):
        return False
    suffix = path.suffix.lower()
    if suffix == ".npz" and is_segmentation(path):
        return False
    if suffix == ".img":
        return is_jsrt(path)
    if suffix in FILM_SUFFIXES:
        return True
    return (suffix == "" or suffix[1:].isdigit()) and _is_dicom(path)


def _is_dicom(path: Path) -> bool:
    try:
        return kind_of(path) is Kind.DICOM
    except FilmError:
        return False  # unreadable and nameless: nothing says that it is a film
