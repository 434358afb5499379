"""What a film's file format is to all others: one class, listed in `radiograph.formats.FORMATS`.

`Format` is the base of all, `Picture` of those that Pillow decodes (1 to 16 bits, palette, colour, alpha,
float); BMP and WebP are hardly more than that.
"""

import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from adaloraqat.errors import FilmError, refused_as
from adaloraqat.radiograph.film import MAX_PIXELS, Film, check_most, check_size, scaled

_FILTERS = threading.RLock()  # warning filters belong to the whole process
ORIENTATION, LYING = 274, (5, 6, 7, 8)
"""The EXIF tag of how a picture is turned, and those of its values that exchange height and width."""


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
        """Return, by its first 512 bytes, whether a file is of this format; it may still be damaged."""
        return start.startswith(self.marks)

    def claims(self, path: Path) -> bool:
        """Return, by name and size, whether a file that no format sniffs is of this one."""
        return False

    def holds_film(self, path: Path) -> bool:
        """Return whether a folder's file with one of `suffixes` is to be taken for a film."""
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


class Picture(Format):
    """A picture format; a subclass corrects what Pillow gets wrong, and checks what Pillow lets pass."""

    pillow: ClassVar[tuple[str, ...]]
    """Pillow's names of the format: the one to open it by, then others that an opened file may have."""

    def header(self, path: Path) -> Header:
        """See `Format.header`."""
        with quiet(), opened(path, self.pillow[:1]) as image:
            return Header(self.size(image))

    def read(self, path: Path) -> Film:
        """See `Format.read`; turned as the EXIF orientation says, without spacing and patient."""
        with quiet(), opened(path, self.pillow[:1]) as image:
            picture, notices = self.decoded(path, image)
        check_size(path.name, picture.height, picture.width)
        return Film(scaled(grey_of(picture), path.name), notices=tuple(notices))

    def size(self, image: Image.Image) -> tuple[int, int]:
        """Return (H, W) of an opened picture, upright as `decoded` gives it, from its header alone."""
        try:
            lying = image.getexif().get(ORIENTATION) in LYING
        except Exception:  # a damaged EXIF block raises many kinds, and turns nothing
            lying = False
        return (image.width, image.height) if lying else (image.height, image.width)

    def decoded(self, path: Path, image: Image.Image) -> tuple[Image.Image, list[str]]:
        """Return an opened picture decoded and upright, and what was decided on the way.

        Raises:
            FilmError: damaged, or too large (refused before decoding).
        """
        notices: list[str] = []
        with refused_as(FilmError(f"{path.name} is damaged or truncated: export or copy the film again.")):
            check_most(path.name, image.height, image.width)
            return ImageOps.exif_transpose(self._loaded(path, image, notices)), notices

    def _loaded(self, path: Path, image: Image.Image, notices: list[str]) -> Image.Image:
        """Decode the pixels, not turned yet; may raise any exception."""
        image.load()
        if image.mode in ("RGBA", "LA") and not np.asarray(image.getchannel("A")).any():
            notices.append("The picture is fully transparent: its transparency was ignored.")
            return image.convert(image.mode[:-1])
        return image


class Bmp(Picture):
    """Windows bitmaps, in which there is nothing to correct."""

    suffixes = frozenset({".bmp"})
    marks = (b"BM",)
    pillow = ("BMP",)


class WebP(Picture):
    """WebP, with or without loss; of an animation the first picture."""

    suffixes = frozenset({".webp"})
    pillow = ("WEBP",)

    def sniff(self, start: bytes) -> bool:
        """See `Format.sniff`; RIFF holds other formats, too."""
        return start[:4] == b"RIFF" and start[8:12] == b"WEBP"


def opened(path: Path, formats: tuple[str, ...]) -> Image.Image:
    """Return a picture file of one of Pillow's `formats`, opened; its pixels are not decoded.

    Pillow is never let choose among all formats that it knows: some of its readers start programs (EPS).

    Raises:
        FilmError: not a picture, too large, or a damaged header.
    """
    try:
        return Image.open(path, formats=formats)
    except Image.DecompressionBombError as error:
        raise FilmError(
            f"{path.name} has more than {MAX_PIXELS // 10**6} megapixels, the limit: reduce it first."
        ) from error
    except Exception as error:  # damaged headers raise SyntaxError, struct.error, OSError, ...
        if _is_rare_tiff(path):
            raise FilmError(
                f"{path.name} holds numbers of an unsupported type (such as 12 or 64 bits): save "
                "it as an ordinary grey TIFF or PNG of 8 or 16 bits."
            ) from error
        raise FilmError(
            f"{path.name} is not a readable picture, or its header is damaged: export it again."
        ) from error


def on_black(image: Image.Image) -> Image.Image:
    """Return a picture of any mode as RGB, its transparent parts black."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image).convert("RGB")
    return image.convert("RGB")


def _is_rare_tiff(path: Path) -> bool:
    """Return whether a file is a TIFF with sound tags of whose kind of numbers Pillow has no reader."""
    try:
        TiffImageFile(path).close()
    except SyntaxError as error:
        return "unknown pixel mode" in str(error)
    except Exception:  # damaged in yet another way
        return False
    return False


def grey_of(image: Image.Image) -> NDArray[Any]:
    """Return (H, W) grey values of a decoded picture; transparency lies on black."""
    if image.mode in ("L", "F", "I") or image.mode.startswith("I;16"):
        return np.asarray(image)
    return np.asarray(on_black(image).convert("L"))
