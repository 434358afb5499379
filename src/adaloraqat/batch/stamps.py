"""What a line of results.jsonl says of the model and of the film's file: by these a result is known again."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class BundleStamp:
    """The model that gave a result.

    Attributes:
        name: of the bundle.
        sha256: of its bundle.json, which holds the SHA-256 of every other file.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class FilmStamp:
    """A film's file as it was before it was read.

    Attributes:
        path: relative to the folder that was given, or as given.
        size: bytes.
        mtime_ns: time of its last change, nanoseconds since 1970.
        folder: the absolute one that `path` is relative to; not in lines of earlier versions.
        mask: size and mtime_ns of the earlier mask that was to be corrected; there only where one was given.
    """

    path: str
    size: int
    mtime_ns: int
    folder: str | None = None
    mask: tuple[int, ...] | None = None

    @classmethod
    def of(cls, name: str, source: Path, mask: Path | None = None) -> Self:
        """Return the stamp of the file `source`, called `name`; its size is -1 where it cannot be seen.

        `mask` is an earlier mask that is to be corrected.
        """
        return cls(name, *_seen(source), _root(source, name), None if mask is None else _seen(mask))

    @property
    def place(self) -> str | None:
        """The folder that the file lies in; None where the line does not tell."""
        return None if self.folder is None else os.path.dirname(f"{self.folder.rstrip('/')}/{self.path}")

    def to_dict(self) -> dict[str, Any]:
        """Return the stamp as JSON has it."""
        return {key: value for key, value in vars(self).items() if value is not None}


def apart(one: str | None, other: str | None) -> bool:
    """Return whether two places are known, and are not the same."""
    return one is not None and other is not None and one != other


def _seen(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, 0
    return found.st_size, found.st_mtime_ns


def _root(source: Path, name: str) -> str:
    """Return the real folder that `name` is relative to."""
    whole = Path(os.path.abspath(source)).as_posix()
    return _real(whole[: -len(name)] if whole.endswith(f"/{name}") else os.path.dirname(whole))


@lru_cache
def _real(folder: str) -> str:
    return Path(os.path.realpath(folder)).as_posix()
