"""TIFF: what the numbers of its first page mean; what they are, `tiff_page` reads.

JPEG and fax data within a TIFF, and YCbCr and Lab colours, are left to Pillow, which reads those right.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import check_most, grey, turned_over
from adaloraqat.radiograph.formats.base import ORIENTATION, Picture, damaged, quiet
from adaloraqat.radiograph.formats.tiff_page import (
    ALPHA,
    CMYK,
    PALETTE,
    PREMULTIPLIED,
    WHITE_IS_ZERO,
    FirstPage,
    first_page,
    silent,
)

_MODES = {(1, None): "L", (1, ALPHA): "LA", (1, PREMULTIPLIED): "La", (4, None): "CMYK"}
_MODES |= {(3, None): "RGB", (3, ALPHA): "RGBA", (3, PREMULTIPLIED): "RGBa"}
_MULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


class Tiff(Picture):
    """TIFF and BigTIFF; of several pages the first."""

    suffixes = frozenset({".tif", ".tiff"})
    marks = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    pillow = ("TIFF",)

    def shape(self, path: Path) -> tuple[int, int]:
        """See `Picture.shape`."""
        page = first_page(path)
        return page.upright if page.readable else super().shape(path)

    def size(self, image: Image.Image) -> tuple[int, int]:
        """See `Picture.size`; of a TIFF, Pillow itself tells the upright size."""
        return image.height, image.width

    def picture(self, path: Path) -> tuple[Image.Image, list[str]]:
        """See `Picture.picture`."""
        page = first_page(path)
        if not page.readable:
            return super().picture(path)
        check_most(path.name, *page.size)
        notices: list[str] = []
        with quiet(), damaged(path):
            picture = self._loaded(path, _shown(page, notices), notices)
            picture.getexif()[ORIENTATION] = page.orientation
            return ImageOps.exif_transpose(picture), notices

    def _opened(self, path: Path) -> Image.Image:
        page = first_page(path)
        check_most(path.name, *page.size)
        unsupported = FilmError(
            f"{path.name} holds numbers, colours or a compression of an unsupported type: save it as an "
            "ordinary grey TIFF or PNG of 8 or 16 bits."
        )
        if not page.for_pillow:
            raise unsupported
        try:
            with silent("PIL.TiffImagePlugin"):
                return super()._opened(path)
        except FilmError as error:
            raise unsupported from error

    def _loaded(self, path: Path, image: Image.Image, notices: list[str]) -> Image.Image:
        if first_page(path).several:
            notices.append("The TIFF has several pages: only the first was read.")
        return super()._loaded(path, image, notices)


def _shown(page: FirstPage, notices: list[str]) -> Image.Image:
    """Return the picture of a page, not turned yet; may raise any exception."""
    values = page.samples()
    if page.photometric == PALETTE:
        picture = _looked_up(values[..., 0], page.palette)
        if page.opacity:
            picture = picture.convert("RGB")
            picture.putalpha(Image.fromarray(values[..., page.opacity[0]]))
        return picture
    if values.dtype == bool and values.shape[2] == 1:
        return Image.fromarray(values[..., 0] != (page.photometric == WHITE_IS_ZERO))
    if page.bits < 8:
        levels = 2**page.bits
        values = np.rint(np.arange(levels) * 255 / (levels - 1)).astype(np.uint8)[values.astype(np.uint8)]
    if page.photometric == WHITE_IS_ZERO:
        if values.dtype.kind == "i" and values.dtype.itemsize > 2:
            values = values.astype(np.float64)  # differences could be greater than their type
        values = np.concatenate([turned_over(values[..., :1]), values[..., 1:]], axis=2)
    return _eight_bits(values, page) if values.dtype == np.uint8 else _deep(values, page, notices)


def _looked_up(values: NDArray[Any], palette: NDArray[np.uint16]) -> Image.Image:
    """Return a picture of (H, W) numbers of the colours of a palette."""
    if len(palette) > 256:
        return _grey_picture(grey(palette)[values])
    if palette.max() > 255:  # some writers give 8 bits instead of 16
        palette >>= 8
    picture = _picture("P", values.astype(np.uint8))
    picture.putpalette(palette.astype(np.uint8).tobytes())
    return picture


def _eight_bits(values: NDArray[np.uint8], page: FirstPage) -> Image.Image:
    """Return a picture of (H, W, S) numbers of 8 bits, in colours where it has some."""
    chosen, kind = [*range(page.colours)], None
    if page.opacity:
        place, kind = page.opacity
        chosen.append(place)
    mode = _MODES[page.colours, kind]
    picture = _picture(mode, values if len(chosen) == values.shape[2] else values[..., chosen])
    return picture.convert(_MULTIPLIED[mode]) if mode in _MULTIPLIED else picture


def _deep(values: NDArray[Any], page: FirstPage, notices: list[str]) -> Image.Image:
    """Return a grey picture of (H, W, S) numbers that are not 8 unsigned bits; transparency lies on black."""
    greatest = {"f": 1, "i": 2 ** (page.bits - 1) - 1, "u": 2**page.bits - 1}[values.dtype.kind]
    if page.photometric == CMYK:
        light = greatest - values[..., :4].astype(np.float32)
        luma = grey(light) * (light[..., 3] / np.float32(greatest))
    else:
        luma = values[..., 0] if page.colours == 1 else grey(values)
    if page.opacity:
        place, kind = page.opacity
        if not values[..., place].any():
            notices.append("The picture is fully transparent: its transparency was ignored.")
        elif kind == ALPHA:
            luma = luma * (values[..., place] / np.float32(greatest))
    return _grey_picture(luma)


def _grey_picture(values: NDArray[Any]) -> Image.Image:
    """Return a picture of (H, W) numbers of any real type."""
    if values.dtype == np.int8 and values.min() >= 0:  # as grey as if they were unsigned
        values = values.view(np.uint8)
    if values.dtype in (np.int8, np.int16):
        values = values.astype(np.int32)
    if values.dtype == np.uint16:
        return _picture("I;16", values)
    return Image.fromarray(values if values.dtype in (np.uint8, np.int32) else values.astype(np.float32))


def _picture(mode: str, values: NDArray[Any]) -> Image.Image:
    """Return a picture of (H, W) or (H, W, S) numbers that Pillow holds as they are."""
    size = values.shape[1], values.shape[0]
    return Image.frombuffer(mode, size, np.ascontiguousarray(values), "raw", mode, 0, 1)
