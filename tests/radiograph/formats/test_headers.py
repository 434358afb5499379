import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from adaloraqat.datasets.phantom.write import write_dicom
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import read_film
from adaloraqat.radiograph.formats import DICOM_SUFFIXES, Header, read_header


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
    film.PixelSpacing, film.ViewPosition, film.PatientID = [2.5, 3.0], "PA", "Jane"
    film.PixelData = bytes(range(32)) * 48
    film.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    header, read = read_header(tmp_path / "a.dcm"), read_film(tmp_path / "a.dcm")
    assert header == Header((32, 48), (2.5, 3.0), read.patient, "PA")
    assert read.shape == (32, 48)
    assert "Jane" not in str(header)


def test_the_content_decides_of_the_header_too(tmp_path):
    picture = Image.fromarray(np.arange(32 * 48, dtype=np.uint8).reshape(32, 48))
    picture.save(tmp_path / "picture.dcm", format="PNG")
    picture.save(tmp_path / "turned.ima", format="PNG")
    np.savez(tmp_path / "film.npz", imgs=np.asarray(picture))
    (tmp_path / "film.npz").rename(tmp_path / "archive.png")
    write_dicom(tmp_path / "film.png", np.asarray(picture) / 255, "film", "patient", (2.5, 3.0))
    # as files from before DICOM had a header: neither preamble, nor magic, nor meta information
    dataset = pydicom.dcmread(tmp_path / "film.png")
    old = pydicom.Dataset(dict(dataset.items()))
    for suffix in DICOM_SUFFIXES:
        old.save_as(tmp_path / f"old{suffix}", implicit_vr=True, little_endian=True)
    for path in tmp_path.iterdir():
        assert read_header(path).shape == read_film(path).shape == (32, 48), path.name
    assert read_header(tmp_path / "old.ima").spacing_mm == (2.5, 3.0)


@pytest.mark.parametrize("content", [b"", b"no film", b"PK\x03\x04broken", b"\x89PNG\r\n\x1a\nbroken"])
def test_broken_headers_get_a_sentence(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(FilmError, match=r"broken\.png"):
        read_header(path)
    with pytest.raises(FilmError, match=r"absent\.png"):
        read_header(tmp_path / "absent.png")
