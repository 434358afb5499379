import hashlib
import io
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import read_film
from adaloraqat.radiograph.formats import read_header

STORED = np.tile(np.arange(0, 4000, 100, dtype=np.uint16), (24, 1))  # (24, 40), 12 bits


def written(path: Path, stored: np.ndarray = STORED, rle: bool = False, **elements: Any) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored = elements.pop("BitsStored", dataset.BitsAllocated)
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    for key, value in elements.items():
        setattr(dataset, key, value)
    if rle:
        dataset.compress(RLELossless)
    dataset.save_as(path, enforce_file_format=True)
    return path


def ramp(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / (high - low)


@pytest.mark.parametrize("rle", [False, True])
def test_stored_values_spacing_and_a_hashed_patient(tmp_path: Path, rle: bool) -> None:
    film = read_film(written(tmp_path / "film", rle=rle, BitsStored=12, PixelSpacing=[3.0, 4.0]))
    assert film.pixels == pytest.approx(ramp(STORED), abs=1e-6)
    assert film.spacing_mm == (3.0, 4.0)
    assert film.patient == hashlib.sha256(b"4711").hexdigest()[:16]
    assert film.notices == ()
    assert "Doe" not in repr(film)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_monochrome1_is_inverted(tmp_path: Path, dtype: type) -> None:
    stored = (np.tile(np.arange(0, 160, 4), (24, 1)) - (40 if dtype is np.int16 else 0)).astype(dtype)
    film = read_film(written(tmp_path / "film", stored, PhotometricInterpretation="MONOCHROME1"))
    assert ramp(film.pixels) == pytest.approx(1 - ramp(stored.astype(float)), abs=1e-6)


def test_signed_values_of_the_whole_range_do_not_wrap(tmp_path: Path) -> None:
    stored = np.tile(np.linspace(-32768, 32767, 40).astype(np.int16), (24, 1))
    film = read_film(written(tmp_path / "film", stored, PhotometricInterpretation="MONOCHROME1"))
    assert (np.diff(film.pixels[0]) < 0).all()


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        ("LINEAR", lambda v: np.clip((v - (2000 - 0.5)) / (2400 - 1) + 0.5, 0, 1)),
        ("LINEAR_EXACT", lambda v: np.clip((v - 2000) / 2400 + 0.5, 0, 1)),
        ("SIGMOID", lambda v: 1 / (1 + np.exp(-4 * (v - 2000) / 2400))),
    ],
)
def test_windows(tmp_path: Path, function: str, wanted: Any) -> None:
    path = written(
        tmp_path / "film", WindowCenter=[2000, 50], WindowWidth=[2400, 10], VOILUTFunction=function
    )
    assert read_film(path).pixels == pytest.approx(wanted(STORED.astype(float)), abs=1e-5)


def test_the_rescale_comes_before_the_window(tmp_path: Path) -> None:
    elements = {"RescaleSlope": -1, "RescaleIntercept": 4000, "WindowCenter": 2000, "WindowWidth": 2401}
    film = read_film(written(tmp_path / "film", **elements))
    wanted = np.clip((4000.0 - STORED - 1999.5) / 2400 + 0.5, 0, 1)
    assert film.pixels == pytest.approx(wanted, abs=1e-5)


def lookup(first: int, table: list[int]) -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor = [len(table), first, 16]
    item.LUTData = table
    item["LUTDescriptor"].VR = "US"
    item["LUTData"].VR = "US"
    return [item]


@pytest.mark.parametrize("key", ["ModalityLUTSequence", "VOILUTSequence"])
def test_lookup_tables_clamp_at_their_ends(tmp_path: Path, key: str) -> None:
    table = list(range(0, 20000, 10))  # maps 1000 + i to 10 i
    film = read_film(written(tmp_path / "film", **{key: lookup(1000, table)}))
    wanted = np.clip(STORED.astype(float) - 1000, 0, 1999) * 10
    assert film.pixels == pytest.approx(wanted / wanted.max(), abs=1e-6)


@pytest.mark.parametrize(("center", "width"), [(2000, 0), (90000, 10)])
def test_a_window_that_hides_the_film_is_left_out(tmp_path: Path, center: int, width: int) -> None:
    film = read_film(written(tmp_path / "film", WindowCenter=center, WindowWidth=width))
    assert film.pixels == pytest.approx(ramp(STORED), abs=1e-6)
    assert "window" in film.notices[0]


def test_padding_is_black(tmp_path: Path) -> None:
    stored = STORED.copy() + 10
    stored[:, :5] = 65535
    film = read_film(written(tmp_path / "film", stored, PixelPaddingValue=65535))
    assert (film.pixels[:, :5] == 0).all()
    assert film.pixels[0, -1] == 1


@pytest.mark.parametrize("spacing", [[0, 0], [0.1, -0.1], [100, 100], [0.2, 0.2], [16, 16], [1.0, 4.1]])
def test_implausible_spacing_is_left_out(tmp_path: Path, spacing: list[float]) -> None:
    film = read_film(written(tmp_path / "film", PixelSpacing=spacing))
    assert film.spacing_mm is None
    assert "PixelSpacing" in film.notices[0]
    film = read_film(written(tmp_path / "film", PixelSpacing=spacing, ImagerPixelSpacing=[4.3, 4.3]))
    assert film.spacing_mm == (4.3, 4.3)
    assert "detector" in film.notices[1]


def test_colour_gives_its_grey(tmp_path: Path) -> None:
    colour = np.zeros((24, 40, 3), np.uint8)
    colour[:12] = (200, 0, 0)
    elements = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    film = read_film(written(tmp_path / "film", colour, **elements, Rows=24, Columns=40))
    assert ramp(film.pixels)[:, 0] == pytest.approx([1.0] * 12 + [0.0] * 12)


def test_a_damaged_transfer_syntax_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "film")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0"))
    with pytest.raises(FilmError, match="cannot be read"):
        read_film(path)


def test_multi_frame_small_and_huge_files_are_refused(tmp_path: Path) -> None:
    for name, words, elements in [
        ("frames", "2 frames", {"NumberOfFrames": 2}),
        ("huge", "100 megapixels", {"Rows": 20000, "Columns": 20000}),
        ("small", "1 x 1", {"Rows": 1, "Columns": 1}),
        ("short", "incomplete", {"Rows": 48}),
    ]:
        with pytest.raises(FilmError, match=words):
            read_film(written(tmp_path / name, **elements))


@pytest.mark.parametrize("rle", [False, True])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, rle: bool, part: float) -> None:
    path = written(
        tmp_path / "film.dcm", np.random.default_rng(0).integers(0, 9, (64, 64), np.uint16), rle=rle
    )
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(FilmError, match=r"film\.dcm"):
        read_film(path)


def test_a_negative_is_turned_over_within_its_own_range(tmp_path: Path) -> None:
    stored = np.tile(np.arange(40, 200, 4, dtype=np.uint8), (24, 1))
    film = read_film(written(tmp_path / "film", stored, PhotometricInterpretation="MONOCHROME1"))
    assert film.pixels == pytest.approx(1 - stored / 255.0, abs=1e-6)
    elements = {"WindowCenter": 2000, "WindowWidth": 8001, "PhotometricInterpretation": "MONOCHROME1"}
    film = read_film(written(tmp_path / "film", **elements))
    window = (STORED - 1999.5) / 8000 + 0.5  # never reaches 0 nor 1
    assert film.pixels == pytest.approx(1 - window, abs=1e-5)


def test_values_in_the_upper_bits_and_overlays_above_them(tmp_path: Path) -> None:
    film = read_film(written(tmp_path / "film", STORED << 4, BitsStored=12, HighBit=15))
    assert film.pixels == pytest.approx(ramp(STORED), abs=1e-6)
    film = read_film(written(tmp_path / "film", STORED | 0x3000, BitsStored=12))
    assert film.pixels == pytest.approx(ramp(STORED), abs=1e-6)


def test_a_range_of_padding_is_black(tmp_path: Path) -> None:
    stored = STORED + 10
    stored[:, :5] = 60000 + np.arange(5)
    film = read_film(
        written(tmp_path / "film", stored, PixelPaddingValue=60000, PixelPaddingRangeLimit=60004)
    )
    assert (film.pixels[:, :5] == 0).all()
    assert film.pixels[0, -1] == 1


def test_a_spacing_that_repeats_the_detectors_or_is_too_oblong_says_so(tmp_path: Path) -> None:
    both = {"PixelSpacing": [4.3, 4.3], "ImagerPixelSpacing": [4.3, 4.3]}
    film = read_film(written(tmp_path / "film", **both))
    assert film.spacing_mm == (4.3, 4.3)
    assert "detector" in film.notices[0]
    film = read_film(written(tmp_path / "film", **both, PixelSpacingCalibrationType="FIDUCIAL"))
    assert film.notices == ()
    assert read_film(written(tmp_path / "film", PixelSpacing=[0.9, 4.0])).spacing_mm is None


def encapsulated(path: Path, frame: bytes, shape: tuple[int, int]) -> Path:
    dataset = pydicom.dcmread(written(path, np.zeros(shape, np.uint8)))
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_a_cut_jpeg_frame_is_refused_even_with_an_end_marker(tmp_path: Path) -> None:
    film = (np.add.outer(np.arange(64) * 2, np.arange(80)) % 200).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(film).save(stream, "JPEG", quality=95)
    frame = stream.getvalue()
    assert read_film(encapsulated(tmp_path / "film", frame, film.shape)).shape == (64, 80)
    for part in (0.4, 0.6, 0.9):
        cut = frame[: int(len(frame) * part)] + b"\xff\xd9"
        with pytest.raises(FilmError, match="truncated"):
            read_film(encapsulated(tmp_path / "film", cut, film.shape))


def test_a_deflated_file_that_inflates_without_end_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "film")
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    assert read_film(path).pixels == pytest.approx(ramp(STORED), abs=1e-6)
    content = path.read_bytes()
    start = 132 + 12 + int.from_bytes(content[140:144], "little")
    bomb = zlib.compressobj(9, wbits=-15)
    parts = [bomb.compress(bytes(1 << 24)) for _ in range(30)]
    path.write_bytes(content[:start] + b"".join(parts) + bomb.flush())
    with pytest.raises(FilmError, match="decompresses"):
        read_film(path)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless])
def test_frames_that_the_header_does_not_mention_are_no_colours(tmp_path: Path, syntax: Any) -> None:
    for frames in (2, 3):
        path = written(tmp_path / "film.dcm", np.stack([STORED] * frames), NumberOfFrames=frames)
        dataset = pydicom.dcmread(path)
        if syntax is not None:
            dataset.compress(syntax)
        del dataset.NumberOfFrames
        dataset.save_as(path)
        with pytest.raises(FilmError, match=r"film\.dcm holds more frames"):
            read_film(path)


def test_a_header_with_half_the_rows_or_bits_is_refused(tmp_path: Path) -> None:
    for wrong in ({"Rows": 24}, {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}):
        with pytest.raises(FilmError, match="wrong size"):
            read_film(written(tmp_path / "film.dcm", np.vstack([STORED, STORED]), **wrong))


def test_a_compressed_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 80), dtype=np.uint8)).save(stream, "JPEG")
    assert read_film(encapsulated(tmp_path / "film", stream.getvalue(), (64, 80))).shape == (64, 80)
    with pytest.raises(FilmError, match="another size"):
        read_film(encapsulated(tmp_path / "film", stream.getvalue(), (80, 64)))
    dataset = pydicom.dcmread(written(tmp_path / "film"))
    dataset.compress(JPEGLSLossless)
    dataset.save_as(tmp_path / "film")
    assert read_film(tmp_path / "film").shape == STORED.shape
    dataset.Rows, dataset.Columns = dataset.Columns, dataset.Rows
    dataset.save_as(tmp_path / "film")
    with pytest.raises(FilmError, match=r"another size|cannot be decoded"):
        read_film(tmp_path / "film")


def test_jpeg_ls_where_its_decoder_has_no_wheel_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = pydicom.dcmread(written(tmp_path / "film"))
    dataset.compress(JPEGLSLossless)
    dataset.save_as(tmp_path / "film")
    monkeypatch.setitem(sys.modules, "jpeg_ls", None)  # as in a Python that pip has no wheel for
    with pytest.raises(FilmError, match=r"JPEG-LS, for which there is no decoder here \(pyjpegls\); export"):
        read_film(tmp_path / "film")


def test_more_pixels_than_the_header_says_are_refused_but_padding_is_not(tmp_path: Path) -> None:
    with pytest.raises(FilmError, match="another size"):
        read_film(written(tmp_path / "film", Columns=39))
    for padding in (b"\0", b"\0" * 1000, b"\xff" * 512, b"ab"):
        film = read_film(written(tmp_path / "film", PixelData=STORED.tobytes() + padding))
        assert film.pixels == pytest.approx(ramp(STORED), abs=1e-6)


def test_big_endian_tables_and_files_without_a_meta_header(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(written(tmp_path / "film", VOILUTSequence=lookup(0, [0])))
    table = (np.arange(4000) ** 2 // 300).astype(np.uint16)
    item = dataset.VOILUTSequence[0]
    item.LUTDescriptor, item["LUTData"].VR, item.LUTData = [4000, 0, 16], "OW", table.astype(">u2").tobytes()
    dataset.PixelData = STORED.astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(tmp_path / "film", dataset, implicit_vr=False, little_endian=False)
    assert read_film(tmp_path / "film").pixels == pytest.approx(ramp(table[STORED].astype(float)), abs=1e-6)
    del dataset.VOILUTSequence
    bare = Dataset(dict(dataset.items()))
    pydicom.dcmwrite(tmp_path / "bare.dcm", bare, implicit_vr=False, little_endian=False)
    assert (tmp_path / "bare.dcm").read_bytes()[:2] == b"\0\x08"
    assert read_film(tmp_path / "bare.dcm").pixels == pytest.approx(ramp(STORED), abs=1e-6)


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        (b"2000", b"abcd", "window"),
        (b"3000", b"inf ", "window"),
        (b"3000.0", b"      ", "window"),
        (b"1.2 ", b"1.x ", "rescale"),
        (b"10.5", b"nan ", "rescale"),
    ],
)
def test_a_number_that_cannot_be_parsed_is_told(tmp_path: Path, good: bytes, bad: bytes, words: str) -> None:
    numbers = {"WindowCenter": 2000, "WindowWidth": 3000, "RescaleSlope": "1.2", "RescaleIntercept": "10.5"}
    path = written(tmp_path / "film", **numbers)
    assert read_film(path).notices == ()
    content = path.read_bytes()
    assert content.count(good) == 1
    path.write_bytes(content.replace(good, bad))
    film = read_film(path)
    assert len(film.notices) == 1
    assert words in film.notices[0]


def test_a_modality_table_without_entries_is_left_out(tmp_path: Path) -> None:
    film = read_film(written(tmp_path / "film", ModalityLUTSequence=[Dataset()]))
    assert film.pixels == pytest.approx(ramp(STORED), abs=1e-6)
    assert "modality LUT" in film.notices[0]


@pytest.mark.parametrize(("kept", "words"), [(0, "zeros"), (132, "zeros"), (600, "truncated|not a readable")])
def test_a_file_whose_rest_is_zeros_is_refused(tmp_path: Path, kept: int, words: str) -> None:
    """Were the zeros taken for elements, this would go on for minutes."""
    path = written(tmp_path / "film.dcm", PatientComments="a comment " * 100)
    content = path.read_bytes()
    assert content.index(b"a comment") < 600 < content.index(STORED.tobytes())
    path.write_bytes(content[:kept])
    with open(path, "r+b") as stream:
        stream.truncate(256 << 20)  # takes no space on disk
    for read in (read_film, read_header):
        with pytest.raises(FilmError, match=words):
            read(path)


def test_zeros_after_the_film_do_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path / "film")
    path.write_bytes(path.read_bytes() + bytes(100_000))
    assert read_film(path).pixels == pytest.approx(ramp(STORED), abs=1e-6)
