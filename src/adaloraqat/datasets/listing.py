"""What a reader finds in a publisher's archive, before anything is decoded or written.

Readers of sources only list: which film, which mask, which patient. `index.py` then turns a listing into
entries of a manifest, and writes those masks that exist in no file of their own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adaloraqat.errors import ManifestError
from adaloraqat.radiograph.folder import walk
from adaloraqat.renamed import renamed_names

Shape = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Drawn:
    """`mask` (H, W) bool on the film's grid; `labels` (H, W) uint8, 1 right lung, 2 left lung, 3 heart."""

    mask: NDArray[np.bool_]
    labels: NDArray[np.uint8] | None = None


class MaskSource(Protocol):
    """A mask that is made from other things: several files, run lengths, polygons, an array."""

    def draw(self, shape: Shape) -> Drawn:
        """Return it on the grid (H, W) of its film.

        Raises:
            FilmError: what it is made from cannot be read, or belongs to another picture.
        """
        ...


@dataclass(frozen=True, eq=False)
class Listed:
    """One film as a source lists it.

    `image` is its file, or a function that returns its pixels (H, W) uint8, bright = dense. `mask` is a file
    on the film's grid or a `MaskSource`. `patient_id` None: the DICOM header says, or else the film is its
    own patient. `split` is the publisher's own division. `spacing_of` gives mm a pixel (row, column) for the
    film's shape, where the source publishes it; a DICOM header says by itself. `path_labels` tells the lungs
    apart, on the film's grid or another one. `others` are columns of the user's own, as in `Entry`.
    """

    id: str
    source: str
    image: Path | Callable[[], NDArray[Any]]
    mask: Path | MaskSource
    patient_id: str | None = None
    split: str | None = None
    path_labels: Path | None = None
    spacing_of: Callable[[Shape], tuple[float, float] | None] | None = None
    outlines: str | None = None
    diagnosis: str | None = None
    licence: str | None = None
    view: str | None = None
    modality: str | None = None
    others: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Listing:
    """The films found, one sentence for each thing worth knowing, and the files that could not be used."""

    films: tuple[Listed, ...]
    notices: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


def files_below(root: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return the files below `root` with one of `suffixes`, sorted, without hidden ones and macOS's copies.

    Raises:
        ManifestError: there is no such folder, or one below it cannot be opened.
    """
    if not root.is_dir():
        raise ManifestError(f"There is no folder {root.name}: give the folder of the unpacked archive.")
    wanted = frozenset(suffixes)
    return sorted(
        folder / name
        for folder, names in walk(root, _searched, _refuse_closed)
        for name in names
        if not name.startswith(".") and Path(name).suffix.lower() in wanted
    )


def _refuse_closed(error: OSError) -> None:
    raise ManifestError(
        f"The folder {Path(error.filename).name} cannot be opened ({error.strerror}): change its "
        "permissions, so that no film is silently skipped."
    ) from error


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Return {file stem: path}; of two files of one stem the first stays."""
    found: dict[str, Path] = {}
    for path in paths:
        found.setdefault(path.stem, path)
    return found


def paired(
    images: Mapping[str, Path], masks: Mapping[str, Path], place: str = ""
) -> tuple[list[str], list[str]]:
    """Return the stems that have both film and mask, in the films' order, and notices of what is left out.

    `place` leads the reason in the notices, for example "in Train/Normal ".
    """
    notices = left_out("film", images.keys() - masks.keys(), f"{place}without a mask")
    notices += left_out("mask", masks.keys() - images.keys(), f"{place}without a film")
    return [stem for stem in images if stem in masks], notices


def left_out(what: str, names: Iterable[str], why: str) -> list[str]:
    """Return one sentence for all `names` ("film", "mask") that are left out, none if there are none."""
    names = sorted(names)
    if not names:
        return []
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    plural, verb = ("", "is") if len(names) == 1 else ("s", "are")
    return [f"{len(names)} {what}{plural} {verb} skipped, {why}: {shown}."]


def _searched(folders: Sequence[str]) -> list[str]:
    return [name for name in folders if not name.startswith((".", "__MACOSX"))]


if not TYPE_CHECKING:  # type checkers still report unknown names
    __getattr__ = renamed_names(__name__, {"Outline": "MaskSource"})
