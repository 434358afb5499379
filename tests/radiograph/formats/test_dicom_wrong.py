"""DICOM whose header is well-formed and wrong: the film all the same, with a notice."""

import io
from typing import Any

import numpy as np
import pytest
from fuzz_seeds import dicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from adaloraqat.radiograph import read_film
from adaloraqat.radiograph.formats.base import quiet
from adaloraqat.radiograph.formats.dicom_bits import own_bits

SIDE = 120
_Y, _X = np.mgrid[0:SIDE, 0:SIDE]
SMOOTH = (2000 + 1500 * np.sin(_X / 17) * np.cos(_Y / 23) + (_X + _Y)).astype(np.uint16)  # 12 bits


def stored(values: np.ndarray = SMOOTH, **elements: Any) -> bytes:
    return dicom(values, ExplicitVRLittleEndian, **{"PixelSpacing": [3.0, 3.0], **elements})


def ramp(values: np.ndarray) -> np.ndarray:
    values = values.astype(float)
    return (values - values.min()) / (values.max() - values.min())


def table(entries: np.ndarray, bits: int) -> list[Dataset]:
    item = Dataset()
    item.add_new(0x00283002, "US", [len(entries), 0, bits])
    item.add_new(0x00283006, "OW", entries.tobytes())
    return [item]


@pytest.mark.parametrize("kind", ["<u2", "u1"])
@pytest.mark.parametrize("key", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_table_of_8_bit_entries_has_more_than_256_places(key: str, kind: str) -> None:
    curve = np.rint(np.linspace(0, 1, 4096) ** 0.7 * 255)
    film = read_film(stored(**{key: table(curve.astype(kind), 8)}))
    assert film.notices == ()
    assert film.pixels == pytest.approx(ramp(curve[SMOOTH]), abs=1e-6)


@pytest.mark.parametrize("bits", [9, 12, 15])
def test_a_modality_table_of_entries_between_8_and_16_bits_is_read(bits: int) -> None:
    curve = np.rint(np.linspace(0, 1, 4096) ** 0.7 * (2**bits - 1))
    film = read_film(stored(ModalityLUTSequence=table(curve.astype("<u2"), bits)))
    assert film.notices == ()
    assert film.pixels == pytest.approx(ramp(curve[SMOOTH]), abs=1e-6)


def test_a_table_that_begins_below_zero_may_say_so_in_an_unsigned_number() -> None:
    """Its type follows that of the stored pixels; what is looked up is rescaled, and below zero."""
    curve = np.rint(np.linspace(0, 1, 4096) ** 0.7 * 4095)
    [item] = table(curve.astype("<u2"), 12)
    item.LUTDescriptor = [4096, (1 << 16) - 2048, 12]
    film = read_film(stored(VOILUTSequence=[item], RescaleSlope=1, RescaleIntercept=-2048))
    assert film.notices == ()
    assert film.pixels == pytest.approx(ramp(curve[SMOOTH]), abs=1e-6)


@pytest.mark.parametrize("entries", [np.arange(300) * 10, np.zeros(4096)])
def test_a_modality_table_that_hides_the_film_is_left_out(entries: np.ndarray) -> None:
    film = read_film(stored(ModalityLUTSequence=table(entries.astype("<u2"), 16)))
    assert film.pixels == pytest.approx(ramp(SMOOTH), abs=1e-6)
    assert film.notices == (
        "The modality LUT, or the rescale slope and intercept, is unusable and was ignored.",
    )


@pytest.mark.parametrize("limit", [2000, 3400])
def test_a_range_of_padding_that_holds_part_of_the_film_is_left_out(limit: int) -> None:
    film = read_film(stored(PixelPaddingValue=0, PixelPaddingRangeLimit=limit))
    assert film.pixels == pytest.approx(ramp(SMOOTH), abs=1e-6)
    assert film.notices == ("The range of padding covers part of the film and was ignored.",)
    frame = np.ones(SMOOTH.shape, bool)
    frame[15:-15, 20:-20] = False
    noisy = np.where(frame, np.random.default_rng(0).integers(0, 100, SMOOTH.shape), SMOOTH).astype(np.uint16)
    film = read_film(stored(noisy, PixelPaddingValue=0, PixelPaddingRangeLimit=100))
    assert film.notices == ()
    assert film.pixels[~frame] == pytest.approx(ramp(SMOOTH[~frame]), abs=1e-6)


SIGNED = (SMOOTH.astype(int) - 2048).astype(np.int16)
MISFIT = ("The header's BitsStored or PixelRepresentation does not fit the pixels and was ignored.",)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless])
@pytest.mark.parametrize(
    ("values", "bits", "signed"),
    [
        (SMOOTH, 10, 0),
        (SMOOTH, 8, 0),
        (SMOOTH, 12, 1),
        (SIGNED, 12, 0),
        (SIGNED, 16, 0),
        (SIGNED.view(np.uint16) & 0xFFF, 12, 0),
        (SIGNED, 10, 1),
    ],
)
def test_bits_and_sign_that_the_header_gets_wrong(
    values: np.ndarray, bits: int, signed: int, syntax: Any
) -> None:
    content = dicom(values.view(np.uint16), syntax, PixelSpacing=[3.0, 3.0], BitsStored=16, HighBit=15)
    dataset = dcmread(io.BytesIO(content))
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, signed
    film = read_film(dataset)
    assert film.pixels == pytest.approx(ramp(SMOOTH), abs=1e-6)
    assert film.notices == MISFIT


@pytest.mark.parametrize("shutter", [0, 4095, 20])
@pytest.mark.parametrize("signed", [0, 1])
def test_a_shutter_is_no_sign_of_wrong_bits(shutter: int, signed: int) -> None:
    """Taken with the other sign, the step from the film to a shutter is smaller here."""
    bright = 4095 - (4095 - SMOOTH) // 4 if shutter != 4095 else SMOOTH // 4
    noise = np.random.default_rng(0).integers(0, 20, SMOOTH.shape) if shutter == 20 else shutter
    frame = np.ones(SMOOTH.shape, bool)
    frame[15:-15, 20:-20] = False
    values = np.where(frame, noise, bright).astype(np.int16) - 2048 * signed
    dataset = Dataset()
    dataset.BitsStored = 12
    notices: list[str] = []
    words = (values & 0xFFF).astype(np.int16 if signed else np.uint16)
    assert np.array_equal(own_bits(dataset, words, notices), values)
    assert notices == []


def test_letters_are_no_sign_of_wrong_bits() -> None:
    """White ones on the darker half of the range: with a sign they would be -1, nearer to the film."""
    values = (SMOOTH // 2).astype(np.uint16)
    for column in range(10, SMOOTH.shape[1] - 4, 4):
        values[5:25, column : column + 2] = 4095
    dataset = Dataset()
    dataset.BitsStored = 12
    notices: list[str] = []
    assert np.array_equal(own_bits(dataset, values, notices), values)
    assert notices == []


def test_the_numbers_of_a_palette_are_not_judged() -> None:
    palette = {
        f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 16] for colour in ("Red", "Green", "Blue")
    }
    greys = (np.arange(256) * 257).astype("<u2")[np.arange(256) ^ 128].tobytes()  # halves exchanged
    palette |= {f"{colour}PaletteColorLookupTableData": greys for colour in ("Red", "Green", "Blue")}
    film = (SMOOTH >> 4).astype(np.uint8)
    read = read_film(stored(film ^ 128, PhotometricInterpretation="PALETTE COLOR", **palette))
    assert read.notices == ()
    assert ramp(read.pixels) == pytest.approx(ramp(film), abs=1e-4)


def test_a_rescale_to_tiny_numbers_keeps_the_films_contrast() -> None:
    film = read_film(stored(RescaleSlope="1e-6", RescaleIntercept=0))
    assert film.pixels == pytest.approx(ramp(SMOOTH), abs=1e-5)
    assert film.notices == ()


@pytest.mark.parametrize(
    "missing",
    [
        ["PixelRepresentation"],
        ["SamplesPerPixel"],
        ["BitsStored"],
        ["PhotometricInterpretation"],
        ["SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation", "BitsStored"],
    ],
)
def test_what_the_header_lacks_is_assumed_with_a_notice(missing: list[str]) -> None:
    dataset = dcmread(io.BytesIO(stored()))
    for key in missing:
        delattr(dataset, key)
    film = read_film(dataset)
    assert film.pixels == pytest.approx(ramp(SMOOTH), abs=1e-6)
    assert film.notices == (f"The header lacks {', '.join(missing)}: the usual was assumed.",)


def test_small_letters_are_no_other_photometric_interpretation() -> None:
    dataset = dcmread(io.BytesIO(stored()))
    for word, wanted in (("monochrome2", ramp(SMOOTH)), ("Monochrome1", 1 - ramp(SMOOTH))):
        with quiet():
            dataset["PhotometricInterpretation"].value = word
        film = read_film(dataset)
        assert film.pixels == pytest.approx(wanted, abs=1e-6)
        assert film.notices == ()
