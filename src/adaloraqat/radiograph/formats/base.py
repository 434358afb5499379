"""What a film's file format is to all others: one class, listed in `radiograph.formats.FORMATS`."""

import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from adaloraqat.radiograph.film import Film

_FILTERS = threading.RLock()  # warning filters belong to the whole process


@dataclass(frozen=True)
class Header:
    """What a file says before its pixels are decoded.

    `shape` (H, W) on the film's grid; the rest as in `Film`, None where the file does not say.
    """

    shape: tuple[int, int]
    spacing_mm: tuple[float, float] | None = None
    patient: str | None = None
    view: str | None = None


class Format(ABC):
    """A file format: how its files are recognised, and what is read from them."""

    suffixes: ClassVar[frozenset[str]]
    """What the names of its files end in, in small letters."""

    marks: ClassVar[tuple[bytes, ...]] = ()
    """What its files begin with, one of these."""

    needs_suffix: ClassVar[bool] = True
    """False: a folder's files that have no suffix, or a number (as in UIDs), may be of this format."""

    def sniff(self, start: bytes) -> bool:
        """Tell by its first 132 bytes whether a file is of this format; it may still be damaged."""
        return start.startswith(self.marks)

    def claims(self, path: Path) -> bool:
        """Tell by name and size whether a file that no format sniffs is of this one."""
        return False

    def holds_film(self, path: Path) -> bool:
        """Tell whether a folder's file with one of `suffixes` is to be taken for a film."""
        return True

    def kind(self, path: Path) -> str:
        """Return one word for a file of this format that holds no film, to count it by."""
        return path.suffix.lower() or "no suffix"

    @abstractmethod
    def header(self, path: Path) -> Header:
        """Return what the header says; the pixels are not looked at and may still be damaged.

        Raises:
            FilmError: the header cannot be read.
        """

    @abstractmethod
    def read(self, path: Path) -> Film:
        """Return the film, bright = dense as far as the file says.

        Raises:
            FilmError: damaged, not one film, too small, too large, or with values that are not finite.
        """


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore Python's warnings within: a film's own sentence says what matters to its user.

    One thread at a time, which may nest it.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
