"""What pydicom and its decoders cannot be trusted with.

Endless inflation, endless zeros or items, damaged JPEG, frames that end too early or do not fit their header.
"""

import io
import zlib
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.encaps import encapsulate, generate_frames, parse_basic_offsets
from pydicom.filereader import read_partial
from pydicom.pixels import pixel_array
from pydicom.pixels.utils import get_expected_length, get_j2k_parameters
from pydicom.tag import BaseTag
from pydicom.uid import JPEGBaseline8Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import MAX_PIXELS
from adaloraqat.radiograph.formats.decoders import DECODERS, JPEG_2000
from adaloraqat.radiograph.formats.dicom_bits import own_bits
from adaloraqat.radiograph.formats.helper import HELPER
from adaloraqat.radiograph.formats.jpeg import END, JPEG_2000_START, decode, ends_early, ends_late, frame_size

_META_START = 132
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_MOST_EMPTY = 512  # elements (0000,0000) without a value in a row, each of 8 zero bytes
_ITEMS = (
    b"\xfe\xff\x00\xe0",
    b"\xff\xfe\xe0\x00",
)  # what each item of a sequence begins with, in both orders
_MOST_ITEMS = 100_000  # which pydicom reads in 4 s and 70 MB
_MOST_INFLATED = 4 * MAX_PIXELS + (64 << 20)  # bytes: the largest film at 32 bits, and its header
_ANY_INFLATED = 16 << 20  # up to here a film may be blank; ...
_MOST_RATIO = 200  # ... beyond, only what is made for it deflates to less


def read_dataset(path: Path, before_pixels: bool = False) -> FileDataset:
    """Return a DICOM file's elements, all or those before the pixels; old files may lack the preamble.

    Raises:
        FilmError: it inflates to more than the largest film, or holds zeros, or no end of elements or items,
            instead of a header.
        Exception: of many kinds, for damaged elements.
    """
    with _Watched(path) as stream:
        start = stream.peek(1 << 16)
        data = start[_data_start(start) :][: 8 * _MOST_EMPTY]
        if len(data) == 8 * _MOST_EMPTY and not any(data):  # pydicom would read them one by one
            raise FilmError(f"{path.name} holds zeros instead of a DICOM film: export or copy it again.")
        try:
            return read_partial(
                stream, stream.stops_before_pixels if before_pixels else stream.stops, force=True
            )
        except Exception as error:
            if stream.refusal is not None:  # of which pydicom makes errors of its own
                raise stream.refusal from error
            raise


class _Watched(io.BufferedReader):
    """A DICOM file that is read no further where it holds what takes pydicom time and memory without end."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path), 1 << 16)
        self._file = path.name
        self._empty = self._elements = self._items = 0
        self._in_pixels = False
        self.refusal: FilmError | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file does; all that is left is what pydicom reads of a deflated file."""
        data = super().read(size)
        if size is None or size < 0:
            self._check_inflated(data)
        elif not self._in_pixels:
            self._count(data)
        return data

    def stops(self, tag: BaseTag, representation: str | None, length: int) -> bool:
        """Tell pydicom whether to stop before an element: after many empty ones, as zeros are."""
        self._empty = self._empty + 1 if tag == 0 else 0
        self._elements += 1
        if self._elements > _MOST_ITEMS:
            raise self._refused("holds more elements than any film's header: export it again")
        self._in_pixels = tag in _PIXELS and representation not in (
            "SQ",
            "UN",
        )  # which holds items, not pixels
        return self._empty > _MOST_EMPTY

    def stops_before_pixels(self, tag: BaseTag, representation: str | None, length: int) -> bool:
        """See `stops`; also before the pixels."""
        return self.stops(tag, representation, length) or tag in _PIXELS

    def _count(self, data: bytes) -> None:
        self._items += sum(data.count(item) for item in _ITEMS)
        if self._items > _MOST_ITEMS:
            raise self._refused("holds more elements than any film's header: export it again")

    def _refused(self, reason: str) -> FilmError:
        self.refusal = FilmError(f"{self._file} {reason}.")
        return self.refusal

    def _check_inflated(self, data: bytes) -> None:
        """Refuse what would inflate beyond any film, or to items without end, before memory is taken."""
        most = min(_MOST_INFLATED, max(_ANY_INFLATED, _MOST_RATIO * len(data)))
        inflater, total, last = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
        while data and not inflater.eof:
            part = inflater.decompress(data, 1 << 20)
            data = inflater.unconsumed_tail
            total += len(part)
            self._count(last + part)  # with the end of the part before, where one may have begun
            last = part[1 - len(_ITEMS[0]) :]
            if total > most:
                raise self._refused("decompresses to more than any film holds: export it uncompressed")


def _frame(dataset: Dataset) -> bytes:
    """Return the first compressed frame."""
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


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
    check_size_of_pixels(dataset, name)


def check_size_of_pixels(dataset: Dataset, name: str) -> None:
    """Refuse pixels whose size is not the header's; needs no decoding.

    Raises:
        FilmError: as `check_fits`.
    """
    if "PixelData" in dataset and not _has_size(dataset, (int(dataset.Rows), int(dataset.Columns))):
        raise FilmError(f"{name} holds pixels of another size than its header says: export or copy it again.")


def _has_size(dataset: Dataset, shape: tuple[int, int]) -> bool:
    """Return whether what is stored has the header's size, as far as it can be known."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return frame_size(_frame(dataset)) in (shape, None)
    beyond = dataset.PixelData[get_expected_length(dataset) :]
    word = max(1, int(dataset.BitsAllocated) // 8)
    padding = (beyond[:word] * len(beyond))[: len(beyond)]
    lines = [side * word for side in shape]  # bytes of a column, of a row
    # what is not a whole row nor column, or of one value, is padding; else the header's size is wrong
    return beyond == padding or all(len(beyond) % line for line in lines)


def decoded(dataset: Dataset, notices: list[str]) -> NDArray[Any]:
    """Return the stored values, (H, W) or (H, W, 3), of one frame, by the decoder that `DECODERS` names.

    Bits above BitsStored, where old scanners keep overlays, are taken off.

    Raises:
        Exception: of many kinds, for what cannot be decoded.
    """
    return own_bits(dataset, _words(dataset), notices)


def _words(dataset: Dataset) -> NDArray[Any]:
    """Return one frame as it is decoded; of grey films with all bits."""
    syntax = dataset.file_meta.TransferSyntaxUID
    decoder = DECODERS[syntax]
    if syntax in (JPEGLSLossless, JPEGLSNearLossless):
        _end_jpeg_ls(dataset)
    if not decoder.apart:
        colour = int(dataset.SamplesPerPixel) > 1
        return pixel_array(dataset, decoding_plugin=decoder.plugin, correct_unused_bits=colour)
    if len(parse_basic_offsets(dataset.PixelData)) > 1:
        raise ValueError("more than one frame")
    return _decoded_apart(dataset, _frame(dataset))


def _end_jpeg_ls(dataset: Dataset) -> None:
    """Give a JPEG-LS frame that was cut its end marker: looking for one keeps CharLS busy for seconds."""
    frame = _frame(dataset).rstrip(b"\0")
    if not frame.endswith(END):
        dataset.PixelData = encapsulate([frame + END])


def _decoded_apart(dataset: Dataset, frame: bytes) -> NDArray[Any]:
    """Return the values of one frame as the helper process decodes them, (H, W) or (H, W, 3)."""
    syntax = dataset.file_meta.TransferSyntaxUID
    rows, columns, stored = (int(dataset[key].value) for key in ("Rows", "Columns", "BitsStored"))
    options = {
        "rows": rows,
        "columns": columns,
        "samples_per_pixel": int(dataset.SamplesPerPixel),
        "photometric_interpretation": str(dataset.PhotometricInterpretation),
        "pixel_representation": int(dataset.get("PixelRepresentation") or 0),
        "bits_allocated": int(dataset.BitsAllocated),
        "bits_stored": stored,
        "planar_configuration": int(dataset.get("PlanarConfiguration") or 0),
        "pixel_keyword": "PixelData",
    }
    if syntax in JPEG_2000:
        frame = frame[
            max(0, frame.find(JPEG_2000_START)) :
        ]  # without a file's header, which pydicom can loop in
        told = get_j2k_parameters(frame)
        precision = int(told.get("precision", stored))
        options |= {  # the stream's own word goes before the header's (PS3.5 8.2.4)
            "pixel_representation": int(told.get("is_signed", options["pixel_representation"])),
            "bits_stored": precision,
            "bits_allocated": 8 if precision <= 8 else 16 if precision <= 16 else 32,
        }
    return HELPER.decode(str(syntax), DECODERS[syntax].plugin, frame, options)


def is_damaged(dataset: Dataset, pixels: NDArray[Any]) -> bool:
    """Return whether a JPEG frame ends before or after its last block, although it decodes.

    Args:
        dataset: the file, with its transfer syntax.
        pixels: (H, W) or (H, W, 3) as decoded.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in (JPEGBaseline8Bit, JPEGLossless, JPEGLosslessSV1):
        return False  # the decoders of all others notice it themselves
    frame = _frame(dataset)
    if syntax == JPEGBaseline8Bit:
        picture = decode(frame)
        return ends_early(frame, picture, decode) or ends_late(frame, picture)
    return ends_early(frame, pixels, lambda data: own_bits(dataset, _decoded_apart(dataset, data), []))
