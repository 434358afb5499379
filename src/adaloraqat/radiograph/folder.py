"""Find the films in a folder as its user sees it: linked subfolders too, each real folder once."""

import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.formats import FILM_SUFFIXES, FORMATS, KINDS, format_of

_IMAGES = re.compile(r"^(images?|imgs?|films?|cxr|dicoms?)([^a-z].*|tr|ts)?$|_(images?|png)$")
_MASKS = re.compile(r"masks?\b|mask[_s]|^(labels?|gts?|annotations?|segmentations?|segs?)([^a-z].*|tr|ts)?$")
_OUTPUTS = ("_mask.png", "_overlay.png")
_DOUBLE = tuple(suffix for suffix in FILM_SUFFIXES if suffix.count(".") > 1)
_BESIDE = re.compile(r"_(labels\.png|(seg|sr|pr|deidentified)\.dcm)$")
"""Results beside a mask; by chance, also the ends of other names."""

_INDEX = "DICOMDIR"  # lists the DICOM files around it, and is one itself


def film_stem(name: str) -> str:
    """Return a film's name without the suffix of a kind of film; of UIDs and the like the whole name."""
    plain = Path(name).name
    suffix = _suffix(Path(name))
    return plain[: -len(suffix)] if suffix in FILM_SUFFIXES else plain


def find_films(
    path: str | os.PathLike[str],
    unopened: Callable[[Path, str], object] | None = None,
    left_out: Callable[[Path, str], object] | None = None,
) -> list[Path]:
    """Return the films at `path`: itself if it is a file, else those below the folder, sorted by path.

    A film is known by its suffix, or by the DICOM magic where the name has none (or a number, as in UIDs).
    Hidden files and folders, the tool's own results (`*_mask.png`, and `*_labels.png`, `*_seg.dcm` and the
    like beside it), npz files of masks alone (`segs`, `gts`) and a DICOMDIR are skipped; and so is a folder
    of masks or labels that lies beside one of images, as in a data set's `images/` and `masks/`. Given by
    itself, such a folder is searched. Linked subfolders are searched as any other, by the rules of `walk`.

    Args:
        path: a film, or a folder.
        unopened: called with each folder that cannot be opened and a sentence on it; the films of the others
            are returned, which may be none. Without it, such a folder is an error.
        left_out: called with each file that is not a film and what it is, to count it by: SEG, SR, PR, KO, RT
            for objects of a study, else its suffix. Of hidden files and the tool's own outputs it hears
            nothing.

    Raises:
        FilmError: no such path, one that cannot be opened, or a folder without films.
    """
    path = Path(path)
    if not _is_folder(path):
        return [path]
    errors: list[OSError] = []
    films = []
    for folder, names in walk(path, _searched, errors.append):
        for file in (folder / name for name in names):
            if _is_own_or_hidden(file):
                continue
            kind = _other_kind(file)
            if kind is None:
                films.append(file)
            elif left_out is not None:
                left_out(file, kind)
    for error in errors:
        place = Path(error.filename)
        if unopened is None:
            raise FilmError(_not_opened(place, error)) from error
        unopened(place, _not_opened(place, error))
    if not films and not errors:
        raise FilmError(f"The folder {path.resolve().name} holds no films: give one with {KINDS} files.")
    return sorted(films)


def walk(
    root: str | os.PathLike[str],
    searched: Callable[[Sequence[str]], Sequence[str]],
    unopened: Callable[[OSError], object] | None = None,
) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder at and below `root` with the names of its files.

    A folder has the path by which it was reached, so below a link the link's. What lies in the tree itself
    comes first, then what links lead to, in the order of their names; a folder that is reached again, or a
    link to a folder that holds `root` or the link itself, is left out.

    Args:
        root: a folder, or a link to one.
        searched: chooses, of the names of one folder's subfolders, those to enter.
        unopened: called for each folder that cannot be opened, whose `filename` the error has; without it,
            such a folder is left out in silence.
    """
    home = os.path.realpath(root)
    entered: set[str] = set()
    starts = deque([Path(root)])
    while starts:
        for folder, folders, names in os.walk(starts.popleft(), onerror=unopened):
            real = os.path.realpath(folder)
            if real in entered:
                folders.clear()
                continue
            entered.add(real)
            inner = [Path(folder, name) for name in sorted(searched(folders))]
            folders[:] = [path.name for path in inner if not path.is_symlink()]
            starts += [path for path in inner if path.is_symlink() and not _leads_back(path, home)]
            yield Path(folder), names


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


def _is_own_or_hidden(path: Path) -> bool:
    name = path.name
    if name.startswith(".") or name.endswith(_OUTPUTS) or name.upper() == _INDEX:
        return True
    return bool(_BESIDE.search(name)) and path.with_name(_BESIDE.sub("_mask.png", name)).exists()


def _other_kind(path: Path) -> str | None:
    """Return what a file is that is not a film, in a word; None where it may be one."""
    suffix = _suffix(path)
    form = next((form for form in FORMATS if suffix in form.suffixes), None)
    if form is None and (suffix == "" or suffix[1:].isdigit()):
        try:
            found = format_of(path)
        except FilmError as error:
            if isinstance(error.__cause__, PermissionError):
                return None  # it may be a film, and reading it tells why it is not read
        else:
            form = None if found.needs_suffix else found
    if form is None:
        return suffix or "no suffix"
    return None if form.holds_film(path) else form.kind(path)


def _suffix(path: Path) -> str:
    """Return what a name ends in, in small letters: ".nii.gz" where it does, else from the last point on."""
    return next((end for end in _DOUBLE if path.name.lower().endswith(end)), path.suffix.lower())


def _leads_back(link: Path, home: str) -> bool:
    """Return whether a link leads to where it came from, or to all that lies around it."""
    real = os.path.realpath(link)
    return any(Path(place).is_relative_to(real) for place in (home, os.path.realpath(link.parent)))
