import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import find_films, read_film
from adaloraqat.radiograph.header import Header, read_header


def raw_film() -> np.ndarray:
    """A chest in JSRT's sense: high numbers (dense blackening) where there is air."""
    values = np.full((2048, 2048), 1000, dtype=np.uint16)
    for left in (300, 1200):
        values[400:1500, left : left + 500] = 3500
    values[0, 0], values[0, 1] = 0, 4095
    return values


def test_high_byte_first_and_high_is_dark(tmp_path):
    path = tmp_path / "JPCLN001.IMG"
    raw_film().astype(">u2").tofile(path)
    film = read_film(path)
    assert film.shape == (2048, 2048)
    assert film.spacing_mm == (0.175, 0.175)
    assert film.notices == ()  # the right way round: nothing had to be righted
    assert film.pixels[0, 0] == 1
    assert film.pixels[0, 1] == 0
    assert film.pixels[1000, 500] == pytest.approx((4095 - 3500) / 4095)
    assert read_header(path) == Header((2048, 2048), (0.175, 0.175))
    (tmp_path / "disk.img").write_bytes(b"something else of that name")
    assert find_films(tmp_path) == [path]


def test_low_byte_first_and_other_sizes_are_refused(tmp_path):
    swapped = tmp_path / "JPCLN002.IMG"
    raw_film().astype("<u2").tofile(swapped)
    with pytest.raises(FilmError, match="beyond 12 bits"):
        read_film(swapped)
    short = tmp_path / "JPCLN003.IMG"
    short.write_bytes(b"\1" * 1000)
    with pytest.raises(FilmError, match=r"JPCLN003\.IMG"):
        read_film(short)


def test_header_agrees_with_the_film_that_is_read(tmp_path):
    picture = Image.fromarray(np.arange(32 * 48, dtype=np.uint8).reshape(32, 48))
    exif = Image.Exif()
    exif[274] = 6  # lying on its side
    picture.save(tmp_path / "turned.jpg", exif=exif)
    picture.save(tmp_path / "plain.png")
    np.savez(tmp_path / "film.npz", imgs=np.zeros((40, 20, 3), np.uint8))
    for name, shape in {"turned.jpg": (48, 32), "plain.png": (32, 48), "film.npz": (40, 20)}.items():
        assert read_header(tmp_path / name) == Header(shape)
        assert read_film(tmp_path / name).shape == shape


def test_header_of_a_dicom_film(tmp_path):
    film = pydicom.Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"  # digital X-ray for presentation
    film.SOPInstanceUID = pydicom.uid.generate_uid()
    film.Rows, film.Columns, film.SamplesPerPixel = 32, 48, 1
    film.BitsAllocated = film.BitsStored = 8
    film.HighBit, film.PixelRepresentation = 7, 0
    film.PhotometricInterpretation = "MONOCHROME2"
    film.PixelSpacing, film.ViewPosition, film.PatientID = [0.2, 0.3], "PA", "Jane"
    film.PixelData = bytes(range(32)) * 48
    film.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    header, read = read_header(tmp_path / "a.dcm"), read_film(tmp_path / "a.dcm")
    assert header == Header((32, 48), (0.2, 0.3), read.patient, "PA")
    assert read.shape == (32, 48)
    assert "Jane" not in str(header)


@pytest.mark.parametrize("content", [b"", b"no film", b"PK\x03\x04broken", b"\x89PNG\r\n\x1a\nbroken"])
def test_broken_headers_get_a_sentence(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(FilmError, match=r"broken\.png"):
        read_header(path)
    with pytest.raises(FilmError, match=r"absent\.png"):
        read_header(tmp_path / "absent.png")
