"""What pydicom and its decoders cannot be trusted with.

Endless inflation, endless zeros, damaged JPEG, frames that end too early or do not fit their header.
"""

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filereader import read_partial
from pydicom.pixels import pixel_array
from pydicom.pixels.utils import get_expected_length
from pydicom.tag import BaseTag
from pydicom.uid import (
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import MAX_PIXELS
from adaloraqat.radiograph.formats.jpeg import decode, ends_early, frame_size, is_well_formed

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META_START = 132
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_MOST_EMPTY = 512  # elements (0000,0000) without a value in a row, each of 8 zero bytes
_MOST_INFLATED = 4 * MAX_PIXELS + (64 << 20)  # bytes: the largest film at 32 bits, and its header


def read_dataset(path: Path, before_pixels: bool = False) -> FileDataset:
    """Return a DICOM file's elements, all or those before the pixels; old files may lack the preamble.

    Raises:
        FilmError: it inflates to more than the largest film, or holds zeros instead of elements.
        Exception: of many kinds, for damaged elements.
    """
    with open(path, "rb") as stream:
        start = stream.read(1 << 16)
    data = start[_data_start(start) :][: 8 * _MOST_EMPTY]
    if len(data) == 8 * _MOST_EMPTY and not any(data):  # pydicom would read them one by one
        raise FilmError(f"{path.name} holds zeros instead of a DICOM film: export or copy it again.")
    _check_inflated_size(path, start)
    with open(path, "rb") as stream:
        return read_partial(stream, _stop(before_pixels), force=True)


def _frame(dataset: Dataset) -> bytes:
    """Return the first compressed frame."""
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


def _stop(before_pixels: bool) -> Callable[[BaseTag, str | None, int], bool]:
    """Return what tells pydicom at each element whether to stop before it."""
    empty = 0

    def stop(tag: BaseTag, representation: str | None, length: int) -> bool:
        nonlocal empty
        empty = empty + 1 if tag == 0 else 0
        return empty > _MOST_EMPTY or (before_pixels and tag in _PIXELS)

    return stop


def _data_start(start: bytes) -> int:
    """Return where the elements begin, after preamble and meta information where there are any."""
    if start[_META_START - 4 : _META_START] != b"DICM":
        return 0
    if start[_META_START : _META_START + 4] != b"\2\0\0\0":
        return _META_START
    return _META_START + 12 + int.from_bytes(start[_META_START + 8 : _META_START + 12], "little")


def check_fits(dataset: Dataset, pixels: NDArray[Any], name: str) -> None:
    """Refuse pixels that are not one frame of the header's size, which decoders reshape or leave out in part.

    Args:
        dataset: the file, with its transfer syntax.
        pixels: as decoded.
        name: of the file, for the sentence.

    Raises:
        FilmError: more frames or more stored than declared, or a compressed frame of another size.
    """
    shape = int(dataset.Rows), int(dataset.Columns)
    if pixels.shape not in (shape, (*shape, 3)):
        raise FilmError(
            f"{name} holds more frames than its header says, or the header has a wrong size: export the one "
            "film to segment as a file of its own."
        )
    if "PixelData" in dataset and not _has_size(dataset, shape):
        raise FilmError(f"{name} holds pixels of another size than its header says: export or copy it again.")


def _has_size(dataset: Dataset, shape: tuple[int, int]) -> bool:
    """Tell whether what is stored has the header's size, as far as it can be known."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return frame_size(_frame(dataset)) in (shape, None)
    beyond = dataset.PixelData[get_expected_length(dataset) :]
    word = max(1, int(dataset.BitsAllocated) // 8)
    padding = (beyond[:word] * len(beyond))[: len(beyond)]
    lines = [side * word for side in shape]  # bytes of a column, of a row
    # what is no whole row nor column, or of one value, is padding; else the header's size is wrong
    return beyond == padding or all(len(beyond) % line for line in lines)


def decoded(dataset: Dataset) -> NDArray[Any]:
    """Return the stored values, (H, W) or (H, W, 3), of one frame.

    gdcm 3.2 ends the whole process (SIGABRT) at damaged JPEG headers, so it is asked only where nothing else
    decodes, and for lossless JPEG only if every segment of the header is in its place.

    Raises:
        Exception: of many kinds, for what cannot be decoded.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        return pixel_array(dataset, decoding_plugin="pillow")
    if syntax in (JPEGLSLossless, JPEGLSNearLossless):
        return pixel_array(dataset, decoding_plugin="pyjpegls")
    if syntax in (JPEGLossless, JPEGLosslessSV1) and not is_well_formed(_frame(dataset)):
        raise ValueError("the JPEG header is damaged")
    return pixel_array(dataset)


def is_cut_short(dataset: Dataset, pixels: NDArray[Any]) -> bool:
    """Tell whether a JPEG frame ends before its last block, although it decodes.

    Args:
        dataset: the file, with its transfer syntax.
        pixels: (H, W) or (H, W, 3) as decoded.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in (JPEGBaseline8Bit, JPEGLossless, JPEGLosslessSV1):
        return False  # the decoders of all others notice it themselves
    frame = _frame(dataset)
    if syntax == JPEGBaseline8Bit:
        return ends_early(frame, decode(frame), decode)

    def again(data: bytes) -> NDArray[Any]:
        dataset.PixelData = encapsulate([data])
        try:
            with _silent():
                return pixel_array(dataset)
        finally:
            dataset.PixelData = original

    original = dataset.PixelData
    return ends_early(frame, pixels, again)


def _check_inflated_size(path: Path, start: bytes) -> None:
    """Refuse a deflated file that would inflate beyond any film, before memory is taken."""
    if _DEFLATED not in start or start[_META_START : _META_START + 4] != b"\2\0\0\0":
        return
    with open(path, "rb") as stream:
        stream.seek(_data_start(start))
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
