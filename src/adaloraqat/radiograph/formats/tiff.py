"""TIFF: what Pillow gets wrong in the files of scanners and detectors, corrected or reported."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import turned_over
from adaloraqat.radiograph.formats.base import LYING, ORIENTATION, Picture

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLE_FORMAT = 256, 257, 258, 259, 262, 339
_PLANAR, _SEPARATE = 284, 2
_WHITE_IS_ZERO, _UNSIGNED, _SIGNED, _UNCOMPRESSED = 0, 1, 2, 1
_SWAPPED = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
_FEW_LEVELS = 64  # what is left of 16 bits cut to 8 must keep at least as many, or the film is lost


class Tiff(Picture):
    """TIFF and BigTIFF; of several pages the first."""

    suffixes = frozenset({".tif", ".tiff"})
    marks = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    pillow = ("TIFF",)

    def size(self, image: Image.Image) -> tuple[int, int]:
        """See `Picture.size`; of a TIFF, Pillow itself tells the upright size."""
        return image.height, image.width

    def _loaded(self, path: Path, image: Image.Image, notices: list[str]) -> Image.Image:
        if getattr(image, "n_frames", 1) > 1:
            notices.append("The TIFF has several pages: only the first was read.")
        tags = getattr(image, "tag_v2", {})
        if tags.get(ORIENTATION) in LYING and tags.get(_COMPRESSION, 1) == _UNCOMPRESSED:
            # Pillow 13 swaps the sides before it decodes, which scrambles what is not compressed.
            image._size = (tags[_WIDTH], tags[_LENGTH])
        if isinstance(image, ImageFile.ImageFile):
            image.tile = [
                _in_native_order(tile) if tile.codec_name == "libtiff" else tile for tile in image.tile
            ]
        bits = tags.get(_BITS, (8,))
        if (
            tags.get(_PLANAR) == _SEPARATE
            and max(bits) > 8
            and tags.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED
        ):
            raise FilmError(  # Pillow takes the bytes of one colour for several
                f"{path.name} has colours of {max(bits)} bits in separate planes, which cannot be read: save "
                "it as 16-bit grey."
            )
        image.load()
        sample = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0]
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts 8 bits only
            if image.mode.startswith("I;16"):
                return Image.fromarray(turned_over(np.asarray(image).astype(np.uint16)))
            if image.mode == "F":
                return Image.fromarray(turned_over(np.asarray(image)))
        if image.mode == "I" and tags and sample == _UNSIGNED:  # Pillow's are signed
            return Image.fromarray(np.asarray(image).view(np.uint32).astype(np.float32))
        if image.mode == "L" and sample == _SIGNED and np.asarray(image).max() > 127:  # and here unsigned
            return Image.fromarray(np.asarray(image).view(np.int8).astype(np.int32))
        if len(bits) > 1 and max(bits) > 8:
            if np.asarray(image).max() < _FEW_LEVELS:
                raise FilmError(
                    f"{path.name} has colours of {max(bits)} bits, of which only the upper 8 can be read, "
                    "which is too few here: save it as 16-bit grey."
                )
            notices.append(f"The TIFF has colours of {max(bits)} bits: only the upper 8 were read.")
        return super()._loaded(path, image, notices)


def _in_native_order(tile: Any) -> Any:
    """Return a tile of libtiff, which gives this computer's byte order; Pillow expects the file's."""
    mode, *others = tile.args
    return tile._replace(args=(_SWAPPED.get(mode, mode), *others))
