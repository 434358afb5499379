"""Films in picture formats: PNG, JPEG, TIFF, BMP; 1 to 16 bits, palette, colour, alpha, float."""

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import MAX_PIXELS, Film, check_most, check_size, scaled

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_EXIF_ORIENTATION, _LYING = 274, (5, 6, 7, 8)  # orientations that exchange height and width
_HEADER = threading.Lock()  # warning filters belong to the whole process


def read_raster(path: Path) -> Film:
    """Return the film in a picture file, turned as its EXIF orientation says; no spacing, no patient.

    Raises:
        FilmError: not a picture, damaged, too small or too large, or with values that are not finite.
    """
    image, notices = open_raster(path)
    check_size(path.name, image.height, image.width)
    return Film(scaled(_grey(image), path.name), notices=tuple(notices))


def open_raster(path: Path) -> tuple[Image.Image, list[str]]:
    """Return a decoded picture, upright, and what was decided on the way.

    Raises:
        FilmError: not a picture, damaged, or too large (refused before decoding).
    """
    notices: list[str] = []
    try:
        with _header(path) as image:
            check_most(path.name, image.height, image.width)
            if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
                notices.append("The TIFF has several pages: only the first was read.")
            image.load()
            picture = _sixteen_bits_right(image)
            turned = ImageOps.exif_transpose(picture)
    except FilmError:
        raise
    except Exception as error:  # a decoder answers damaged bytes with nearly any exception
        raise FilmError(f"{path.name} is damaged or cut short: export or copy the film again.") from error
    return turned, notices


def raster_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of a picture file, upright as `open_raster` gives it, from its header alone.

    Raises:
        FilmError: not a picture, or a damaged header.
    """
    with _header(path) as image:
        try:
            lying = image.getexif().get(_EXIF_ORIENTATION) in _LYING
        except Exception:  # a damaged EXIF block raises many kinds, and turns nothing
            lying = False
        return (image.width, image.height) if lying else (image.height, image.width)


def _header(path: Path) -> Image.Image:
    try:
        with _HEADER, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(path, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise FilmError(
            f"{path.name} has more than the {MAX_PIXELS // 10**6} megapixels that are read: reduce it first."
        ) from error
    except Exception as error:  # as above: damaged headers raise SyntaxError, struct.error, OSError, ...
        raise FilmError(
            f"{path.name} is not a readable picture, or its header is damaged: export it again."
        ) from error


def _sixteen_bits_right(image: Image.Image) -> Image.Image:
    """Invert a 16-bit TIFF whose zero is white: Pillow does that for 8 bits only."""
    tags = getattr(image, "tag_v2", {})
    if not (image.mode.startswith("I;16") and tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO):
        return image
    values = np.asarray(image).astype(np.uint16)
    return Image.fromarray(values.max() - values)


def _grey(image: Image.Image) -> NDArray[Any]:
    """Return (H, W) grey values; transparency lies on black."""
    if image.mode in ("L", "F", "I") or image.mode.startswith("I;16"):
        return np.asarray(image)
    return np.asarray(on_black(image).convert("L"))


def on_black(image: Image.Image) -> Image.Image:
    """Return a picture of any mode as RGB, its transparent parts black."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image).convert("RGB")
    return image.convert("RGB")
