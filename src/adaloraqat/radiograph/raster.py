"""Films in picture formats: PNG, JPEG, TIFF, BMP; 1 to 16 bits, palette, colour, alpha, float."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.deep_png import is_deep, read_deep_png
from adaloraqat.radiograph.film import MAX_PIXELS, Film, check_most, check_size, grey, scaled
from adaloraqat.radiograph.jpeg import ends_early
from adaloraqat.radiograph.negative import turned_over
from adaloraqat.radiograph.quiet import quiet

_JPEGS = ("JPEG", "MPO")  # an MPO is a JPEG that others follow in the file

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
"""What Pillow may open a film with, which is never trusted: others of its readers start programs (EPS)."""

_TIFF_WIDTH, _TIFF_LENGTH, _TIFF_BITS, _TIFF_COMPRESSION = 256, 257, 258, 259
_TIFF_PHOTOMETRIC, _TIFF_SAMPLE_FORMAT = 262, 339
_WHITE_IS_ZERO, _UNSIGNED, _SIGNED, _UNCOMPRESSED = 0, 1, 2, 1
_FEW_LEVELS = 64  # what is left of 16 bits cut to 8 must keep at least as many, or the film is lost
_EXIF_ORIENTATION, _LYING = 274, (5, 6, 7, 8)  # orientations that exchange height and width


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
        with quiet(), _header(path) as image:
            check_most(path.name, image.height, image.width)
            if image.format == "TIFF":
                _prepare_tiff(image, notices)
            if image.format == "PNG":
                _check_sums(path)
            if image.format == "PNG" and is_deep(path):
                picture = _deep_grey(path, image)
            else:
                image.load()
                picture = _values_right(image, path.name, notices)
            if image.format in _JPEGS:
                _check_whole(path, image)
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
    with quiet(), _header(path) as image:
        try:
            lying = image.format != "TIFF" and image.getexif().get(_EXIF_ORIENTATION) in _LYING
        except Exception:  # a damaged EXIF block raises many kinds, and turns nothing
            lying = False
        return (image.width, image.height) if lying else (image.height, image.width)


def _header(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise FilmError(
            f"{path.name} has more than the {MAX_PIXELS // 10**6} megapixels that are read: reduce it first."
        ) from error
    except Exception as error:  # as above: damaged headers raise SyntaxError, struct.error, OSError, ...
        if _is_rare_tiff(path):
            raise FilmError(
                f"{path.name} holds numbers of a kind that is not read (as 12-bit or 64-bit ones are): save "
                "it as an ordinary grey TIFF or PNG of 8 or 16 bits."
            ) from error
        raise FilmError(
            f"{path.name} is not a readable picture, or its header is damaged: export it again."
        ) from error


def _is_rare_tiff(path: Path) -> bool:
    """Tell whether a file is a TIFF with sound tags of whose kind of numbers Pillow has no reader."""
    try:
        TiffImageFile(path).close()
    except SyntaxError as error:
        return "unknown pixel mode" in str(error)
    except Exception:  # damaged in yet another way
        return False
    return False


def _check_sums(path: Path) -> None:
    """Refuse a PNG of which a chunk is damaged or missing; decoding would take most for a film.

    Raises:
        Exception: of several kinds, as Pillow has them.
    """
    with Image.open(path, formats=("PNG",)) as image:
        image.verify()


def _prepare_tiff(image: Image.Image, notices: list[str]) -> None:
    if getattr(image, "n_frames", 1) > 1:
        notices.append("The TIFF has several pages: only the first was read.")
    tags = getattr(image, "tag_v2", {})
    if tags.get(_EXIF_ORIENTATION) in _LYING and tags.get(_TIFF_COMPRESSION, 1) == _UNCOMPRESSED:
        # Pillow 13 swaps the sides before it decodes, which scrambles what is not compressed.
        image._size = (tags[_TIFF_WIDTH], tags[_TIFF_LENGTH])


def _deep_grey(path: Path, image: Image.Image) -> Image.Image:
    """Return, as float values 0 to 65535, a PNG of several 16-bit channels; transparency lies on black."""
    deep = read_deep_png(path)
    luma = deep[..., 0].astype(np.float32) if deep.shape[2] == 2 else grey(deep)
    if deep.shape[2] in (2, 4) and deep[..., -1].any():
        luma = luma * (deep[..., -1] / np.float32(65535))
    picture = Image.fromarray(luma.astype(np.float32, copy=False))
    picture.getexif()[_EXIF_ORIENTATION] = image.getexif().get(_EXIF_ORIENTATION, 1)
    return picture


def _values_right(image: Image.Image, name: str, notices: list[str]) -> Image.Image:
    """Mend what Pillow gets wrong in TIFF files of more than 8 bits, and alpha channels that hide all."""
    tags = getattr(image, "tag_v2", {})
    sample = tags.get(_TIFF_SAMPLE_FORMAT, (_UNSIGNED,))[0]
    if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts 8 bits only
        if image.mode.startswith("I;16"):
            return Image.fromarray(turned_over(np.asarray(image).astype(np.uint16)))
        if image.mode == "F":
            return Image.fromarray(turned_over(np.asarray(image)))
    if image.mode == "I" and tags and sample == _UNSIGNED:
        return Image.fromarray(np.asarray(image).view(np.uint32).astype(np.float32))  # Pillow's are signed
    if image.mode == "L" and sample == _SIGNED and np.asarray(image).max() > 127:  # and here unsigned
        return Image.fromarray(np.asarray(image).view(np.int8).astype(np.int32))
    bits = tags.get(_TIFF_BITS, (8,))
    if len(bits) > 1 and max(bits) > 8:
        if np.asarray(image).max() < _FEW_LEVELS:
            raise FilmError(
                f"{name} has colours of {max(bits)} bits, of which only the upper 8 are read, too few here: "
                "save it as 16-bit grey."
            )
        notices.append(f"The TIFF has colours of {max(bits)} bits: only the upper 8 were read.")
    if image.mode in ("RGBA", "LA") and not np.asarray(image.getchannel("A")).any():
        notices.append("The picture is transparent everywhere: its transparency was left out.")
        return image.convert(image.mode[:-1])
    return image


def _check_whole(path: Path, image: Image.Image) -> None:
    """Refuse a JPEG whose decoder had to make up the lower part of the film."""

    def decoded(data: bytes) -> NDArray[Any]:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as again:
            return np.asarray(again)

    if ends_early(path.read_bytes(), np.asarray(image), decoded):
        raise FilmError(f"{path.name} is cut short: a part of the film is missing; copy it again.")


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
