"""Walk a folder as its user sees it: linked subfolders too, each real folder once."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


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


def _leads_back(link: Path, home: str) -> bool:
    """Tell whether a link leads to where it came from, or to all that lies around it."""
    real = os.path.realpath(link)
    return any(Path(place).is_relative_to(real) for place in (home, os.path.realpath(link.parent)))
