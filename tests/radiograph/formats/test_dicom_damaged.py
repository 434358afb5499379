"""DICOM whose header is damaged or hostile: one sentence or the film, never another error nor a long wait."""

import io
import os
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_seeds import FILM, dicom
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGLSLossless

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import find_films, read_film, read_header
from adaloraqat.radiograph.formats.dicom_values import film_of_dataset

PIXELS = FILM.astype(np.float32) / 255


def retyped(tag: int, representation: str, value: Any) -> bytes:
    """A file whose element `tag` has another value representation than the standard's."""
    item = Dataset()
    item.PatientID = "4711"
    built = Dataset()
    built.add_new(tag, representation, [item] if representation == "SQ" else value)
    dataset = dcmread(io.BytesIO(dicom(FILM, ExplicitVRLittleEndian, PixelSpacing=[3, 3])))
    dataset[tag] = built[tag]
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("tag", "representation", "value"),
    [
        (0x00283010, "US", 5),  # VOILUTSequence
        (0x00283010, "LO", "text"),
        (0x00540220, "US", 3),  # ViewCodeSequence
        (0x00082218, "US", 4),  # AnatomicRegionSequence
        (0x00280120, "SQ", None),  # PixelPaddingValue
        (0x00280120, "PN", "A"),
        (0x00185101, "US", 3),  # ViewPosition
        (0x00200020, "SQ", None),  # PatientOrientation
        (0x52009229, "US", 3),  # SharedFunctionalGroupsSequence
    ],
)
def test_an_element_of_another_type_costs_only_itself(tag: int, representation: str, value: Any) -> None:
    film = read_film(retyped(tag, representation, value))
    assert np.array_equal(film.pixels, PIXELS)
    assert film.notices == (("The VOI window or LUT is unusable and was ignored.",) * (tag == 0x00283010))


def test_a_value_of_a_wrong_length_costs_only_itself() -> None:
    item = Dataset()
    item.add_new(0x00283002, "US", [256, 0, 8])
    item.add_new(0x00283006, "OW", bytes(range(256)))
    content = dicom(FILM, ExplicitVRLittleEndian, PixelSpacing=[3, 3], VOILUTSequence=[item])
    descriptor = b"\x28\0\x02\x30US\x06\0"
    assert content.count(descriptor) == 1
    film = read_film(content.replace(descriptor, b"\x28\0\x02\x30UL\x06\0"))
    assert np.array_equal(film.pixels, PIXELS)
    assert film.notices == ("The VOI window or LUT is unusable and was ignored.",)


def test_one_byte_of_the_transfer_syntax_makes_it_damaged() -> None:
    content = dicom(FILM, ExplicitVRLittleEndian)
    assert content.count(b"1.2.840.10008.1.2.1\0") == 1
    with pytest.raises(FilmError, match="its transfer syntax is damaged"):
        read_film(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840\\10008.1.2.1\0"))


def test_whatever_else_a_header_raises_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "film.dcm").write_bytes(dicom(FILM, ExplicitVRLittleEndian))
    monkeypatch.setattr("adaloraqat.radiograph.formats.dicom_values.spacing_of", lambda *_: 1 / 0)
    for read in (read_film, read_header):
        with pytest.raises(FilmError, match=r"film\.dcm is not a readable DICOM film"):
            read(tmp_path / "film.dcm")
    with pytest.raises(FilmError, match="The data set holds no DICOM image"):
        film_of_dataset(Dataset(), "The data set")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    waits = os.open(tmp_path / "pipe.dcm", os.O_RDWR | os.O_NONBLOCK)  # so that opening it alone ends
    os.write(waits, b"a" * 2000)
    try:
        assert find_films(tmp_path) == [tmp_path / "pipe.dcm"]  # reading it says what it is
        assert os.read(waits, 4000) == b"a" * 2000  # nobody took a byte
    finally:
        os.close(waits)


def split(content: bytes) -> tuple[bytes, bytes]:
    """Return a file's preamble and meta information, and all that follows."""
    start = 144 + int.from_bytes(content[140:144], "little")
    return content[:start], content[start:]


def items(count: int, declared: bool) -> bytes:
    """A sequence of empty items, with its length or without."""
    head = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 8 * count if declared else 0xFFFFFFFF)
    end = b"" if declared else struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return head + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * count + end


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("declared", [False, True])
def test_items_without_end_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: Any, declared: bool
) -> None:
    """A million of them take pydicom 35 s and 700 MB, and deflate to 10 KB."""
    path = tmp_path / "film.dcm"
    monkeypatch.setattr("adaloraqat.radiograph.formats.dicom_pixels._MOST_ITEMS", 1000, raising=False)
    rest = split(dicom(FILM, ExplicitVRLittleEndian))[1]
    for count in (400, 1100):
        body = items(count, declared) + rest
        if syntax.is_deflated:
            packer = zlib.compressobj(wbits=-15)
            body = packer.compress(body) + packer.flush()
        path.write_bytes(split(dicom(FILM, syntax))[0] + body)
        if count < 1000:
            assert read_film(path).shape == FILM.shape
        else:
            with pytest.raises(FilmError, match=r"film\.dcm holds more elements"):
                read_film(path)


def test_elements_without_end_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaloraqat.radiograph.formats.dicom_pixels._MOST_ITEMS", 1000, raising=False)
    head, rest = split(dicom(FILM, ExplicitVRLittleEndian))
    empty = b"".join(struct.pack("<HH2sH", 0x0009, element, b"LO", 0) for element in range(0x1000, 0x1500))
    (tmp_path / "film.dcm").write_bytes(head + empty + rest)
    with pytest.raises(FilmError, match=r"film\.dcm holds more elements"):
        read_film(tmp_path / "film.dcm")


def test_what_inflates_like_nothing_real_is_refused_before_it_is_large(tmp_path: Path) -> None:
    """Also without the length of the meta information, which pydicom needs not."""
    head, _ = split(dicom(FILM, DeflatedExplicitVRLittleEndian))
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(bytes(17 << 20)) + packer.flush()
    for start in (head, head[:132] + head[144:]):
        (tmp_path / "film.dcm").write_bytes(start + bomb)
        with pytest.raises(FilmError, match="decompresses to more than any film holds"):
            read_film(tmp_path / "film.dcm")


def test_a_cut_jpeg_ls_stream_does_not_stop_the_process_for_seconds() -> None:
    rows, columns = np.mgrid[0:300, 0:300]
    film = (2000 + 1500 * np.sin(columns / 17) * np.cos(rows / 23)).astype(np.uint16)
    dataset = dcmread(io.BytesIO(dicom(film, JPEGLSLossless)))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1)).rstrip(b"\0")
    wanted = read_film(dataset).pixels
    dataset.PixelData = encapsulate([frame[:-2]])  # all of it but the marker of its end
    assert np.array_equal(read_film(dataset).pixels, wanted)
    dataset.PixelData = encapsulate([frame[: len(frame) // 2]])
    begun = time.perf_counter()
    with pytest.raises(FilmError, match="cannot be decoded"):
        read_film(dataset)
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize("as_dataset", [False, True])
def test_a_lack_of_memory_is_not_the_films_fault(as_dataset: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("adaloraqat.radiograph.formats.dicom_values.padding", none_left)
    content = dicom(FILM, ExplicitVRLittleEndian, PixelSpacing=[3, 3])
    with pytest.raises(MemoryError):
        read_film(dcmread(io.BytesIO(content)) if as_dataset else content)
