"""Find the films in a folder."""

import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.jsrt_img import is_jsrt
from adaloraqat.radiograph.kinds import FILM_SUFFIXES, KINDS, Kind, kind_of
from adaloraqat.radiograph.npz import is_segmentation
from adaloraqat.radiograph.walk import walk

_IMAGES = re.compile(r"^(images?|imgs?|films?|cxr|dicoms?)([^a-z].*|tr|ts)?$|_(images?|png)$")
_MASKS = re.compile(r"masks?\b|mask[_s]|^(labels?|gts?|annotations?|segmentations?|segs?)([^a-z].*|tr|ts)?$")
_OUTPUTS = ("_mask.png", "_overlay.png")
_INDEX = "DICOMDIR"  # lists the DICOM files around it, and is one itself


def film_stem(name: str) -> str:
    """Return a film's name without the suffix of a kind of film; of UIDs and the like the whole name."""
    path = Path(name)
    return path.stem if path.suffix.lower() in FILM_SUFFIXES else path.name


def find_films(
    path: str | os.PathLike[str], unopened: Callable[[Path, str], object] | None = None
) -> list[Path]:
    """Return the films at `path`: itself if it is a file, else those below the folder, sorted by path.

    A film is known by its suffix, or by the DICOM magic where the name has none (or a number, as in UIDs).
    Hidden files and folders, the tool's own `*_mask.png` and `*_overlay.png`, npz files of masks alone
    (`segs`, `gts`) and a DICOMDIR are skipped; and so is a folder of masks or labels that lies beside one of
    images, as in a data set's `images/` and `masks/`. Given by itself, such a folder is searched. Linked
    subfolders are searched as any other, by the rules of `walk`.

    Args:
        path: a film, or a folder.
        unopened: called with each folder that cannot be opened and a sentence on it; the films of the others
            are returned, which may be none. Without it, such a folder is an error.

    Raises:
        FilmError: no such path, one that cannot be opened, or a folder without films.
    """
    path = Path(path)
    if not _is_folder(path):
        return [path]
    errors: list[OSError] = []
    films = []
    for folder, names in walk(path, _searched, errors.append):
        films += [folder / name for name in names if _is_film(folder / name)]
    for error in errors:
        place = Path(error.filename)
        if unopened is None:
            raise FilmError(_not_opened(place, error)) from error
        unopened(place, _not_opened(place, error))
    if not films and not errors:
        raise FilmError(f"The folder {path.resolve().name} holds no films: give one with {KINDS} files.")
    return sorted(films)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FilmError(f"{path.name} does not exist: check the path.") from error
    except OSError as error:
        raise FilmError(_not_opened(path, error)) from error


def _not_opened(path: Path, error: OSError) -> str:
    name = path.name or Path(os.path.realpath(path)).name
    return f"{name} cannot be opened ({error.strerror}): check the path and its permissions."


def _searched(folders: Sequence[str]) -> list[str]:
    """Return the subfolders to search: beside films, as data sets are laid out, masks are no films."""
    open_folders = [name for name in folders if not name.startswith(".")]
    masks = [name for name in open_folders if _MASKS.search(name.lower())]
    films = [name for name in open_folders if name not in masks and _IMAGES.search(name.lower())]
    return [name for name in open_folders if name not in masks] if films else open_folders


def _is_film(path: Path) -> bool:
    if path.name.startswith(".") or path.name.endswith(_OUTPUTS):
        return False
    if path.name.upper() == _INDEX:
        return False
    suffix = path.suffix.lower()
    if suffix == ".npz" and is_segmentation(path):
        return False
    if suffix == ".img":
        return _is_jsrt(path)
    if suffix in FILM_SUFFIXES:
        return True
    return (suffix == "" or suffix[1:].isdigit()) and _is_dicom(path)


def _is_jsrt(path: Path) -> bool:
    try:
        return is_jsrt(path)
    except OSError:
        return True  # may be one: reading it says why it cannot be used


def _is_dicom(path: Path) -> bool:
    try:
        return kind_of(path) is Kind.DICOM
    except FilmError as error:
        # what may not be read may be a film, and is told; else nothing says that it is one
        return isinstance(error.__cause__, PermissionError)
