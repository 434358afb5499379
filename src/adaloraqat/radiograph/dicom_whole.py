"""What DICOM decoders cannot be trusted with: damaged JPEG, frames that end too early, endless inflation."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import MAX_PIXELS
from adaloraqat.radiograph.jpeg import ends_early, is_well_formed

if TYPE_CHECKING:
    from pydicom import Dataset

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META_START = 132
_MOST_INFLATED = 4 * MAX_PIXELS + (64 << 20)  # bytes: the largest film at 32 bits, and its header


def decoded(dataset: Dataset) -> NDArray[Any]:
    """Return the stored values, (H, W) or (H, W, 3), of one frame.

    gdcm 3.2 ends the whole process (SIGABRT) at damaged JPEG headers, so it is asked only where nothing else
    decodes, and for lossless JPEG only if every segment of the header is in its place.

    Raises:
        Exception: of many kinds, for what cannot be decoded.
    """
    from pydicom.encaps import generate_frames
    from pydicom.pixels import pixel_array
    from pydicom.uid import (
        JPEGBaseline8Bit,
        JPEGExtended12Bit,
        JPEGLossless,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEGLSNearLossless,
    )

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        return pixel_array(dataset, decoding_plugin="pillow")
    if syntax in (JPEGLSLossless, JPEGLSNearLossless):
        return pixel_array(dataset, decoding_plugin="pyjpegls")
    if syntax in (JPEGLossless, JPEGLosslessSV1) and not is_well_formed(
        next(generate_frames(dataset.PixelData, number_of_frames=1))
    ):
        raise ValueError("the JPEG header is damaged")
    return pixel_array(dataset)


def is_cut_short(dataset: Dataset, pixels: NDArray[Any]) -> bool:
    """Tell whether a JPEG frame ends before its last block, although it decodes.

    Args:
        dataset: the file, with its transfer syntax.
        pixels: (H, W) or (H, W, 3) as decoded.
    """
    from pydicom.encaps import encapsulate, generate_frames
    from pydicom.pixels import pixel_array
    from pydicom.uid import JPEGBaseline8Bit, JPEGLossless, JPEGLosslessSV1

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in (JPEGBaseline8Bit, JPEGLossless, JPEGLosslessSV1):
        return False  # the decoders of all others notice it themselves
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if syntax == JPEGBaseline8Bit:
        return ends_early(frame, _by_pillow(frame), _by_pillow)

    def again(data: bytes) -> NDArray[Any]:
        dataset.PixelData = encapsulate([data])
        try:
            with _silent():
                return pixel_array(dataset)
        finally:
            dataset.PixelData = original

    original = dataset.PixelData
    return ends_early(frame, pixels, again)


def check_inflated_size(path: Path) -> None:
    """Refuse a deflated file that would inflate beyond any film, before memory is taken.

    Raises:
        FilmError: it holds more than the largest film.
    """
    with open(path, "rb") as stream:
        start = stream.read(1 << 16)
        if _DEFLATED not in start or start[_META_START : _META_START + 4] != b"\2\0\0\0":
            return
        length = int.from_bytes(start[_META_START + 8 : _META_START + 12], "little")
        stream.seek(_META_START + 12 + length)
        inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        data = stream.read(1 << 20)
        while data and not inflater.eof:
            total += len(inflater.decompress(data, 1 << 20))
            data = inflater.unconsumed_tail or stream.read(1 << 20)
            if total > _MOST_INFLATED:
                raise FilmError(f"{path.name} inflates to more than any film: export it uncompressed.")


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the decoder's own remark about the extra bytes off stderr; it writes to the file descriptor."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _by_pillow(data: bytes) -> NDArray[Any]:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return np.asarray(image)
