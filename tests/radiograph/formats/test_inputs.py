"""What Python programs hold in memory is read as its file would be; what is no film is refused."""

import gzip
import io
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from fuzz_seeds import FILM, dicom, picture
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import read_film

PIXELS = FILM.astype(np.float32) / 255


def test_bytes_open_files_pictures_and_data_sets(tmp_path: Path) -> None:
    png, dcm = picture(Image.fromarray(FILM), "PNG"), dicom(FILM, ExplicitVRLittleEndian, PixelSpacing=[3, 3])
    (tmp_path / "film.png").write_bytes(png)
    with open(tmp_path / "film.png", "rb") as opened:
        for source in (png, bytearray(png), io.BytesIO(png), opened, Image.fromarray(FILM)):
            assert np.array_equal(read_film(source).pixels, PIXELS)
    dataset = pydicom.dcmread(io.BytesIO(dcm))
    before = str(dataset)
    for source in (dcm, dataset):
        film = read_film(source)
        assert np.array_equal(film.pixels, PIXELS)
        assert film.spacing_mm == (3, 3)
    assert str(dataset) == before  # the caller's own stays as it is


def test_a_picture_that_was_turned_is_upright(tmp_path: Path) -> None:
    turned = Image.fromarray(FILM)
    turned.getexif()[274] = 6
    assert np.array_equal(read_film(turned).pixels, np.rot90(PIXELS, -1))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_has_its_columns_first(tmp_path: Path, ending: str) -> None:
    image = nibabel.Nifti1Image(FILM.T[..., None].astype(np.int16), np.diag([4.0, 3.0, 1.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / f"film{ending}")
    for source in (tmp_path / f"film{ending}", image):
        film = read_film(source)
        assert film.shape == FILM.shape
        assert film.spacing_mm == (3, 4)
        assert film.aspect == 0.75
        assert "columns are assumed to come first" in film.notices[0]
    volume = nibabel.Nifti1Image(np.zeros((20, 20, 3), np.int16), np.eye(4))
    with pytest.raises(FilmError, match="one film is needed"):
        read_film(volume)
    (tmp_path / f"film{ending}").write_bytes(b"no NIfTI")
    with pytest.raises(FilmError, match="not a readable NIfTI"):
        read_film(tmp_path / f"film{ending}")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_the_bytes_of_nifti_are_read_as_its_file(tmp_path: Path, ending: str, kind: type) -> None:
    path = tmp_path / f"film{ending}"
    nibabel.save(kind(FILM.T.astype(np.int16), np.eye(4)), path)
    wanted = read_film(path)
    for source in (path.read_bytes(), path.rename(tmp_path / "film")):
        assert np.array_equal(read_film(source).pixels, wanted.pixels)
    with pytest.raises(FilmError, match="known format"):
        read_film(gzip.compress(b"something else" * 100))


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("little", [True, False])
def test_dicom_without_preamble_is_known_by_its_content(tmp_path: Path, implicit: bool, little: bool) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(FILM, ExplicitVRLittleEndian)))
    bare, stream = pydicom.Dataset(dict(dataset.items())), io.BytesIO()
    pydicom.dcmwrite(stream, bare, implicit_vr=implicit and little, little_endian=little)
    (tmp_path / "film").write_bytes(stream.getvalue())
    for source in (stream.getvalue(), tmp_path / "film"):
        assert np.array_equal(read_film(source).pixels, PIXELS)
    with pytest.raises(FilmError, match="known format"):
        read_film(b"\x08\0" * 1000)


@pytest.mark.parametrize("quality", [100, 50])
def test_webp(tmp_path: Path, quality: int) -> None:
    Image.fromarray(FILM).save(tmp_path / "film", "WEBP", lossless=quality == 100, quality=quality)
    assert read_film(tmp_path / "film").pixels == pytest.approx(PIXELS, abs=0.01 if quality == 100 else 0.3)
    (tmp_path / "film").write_bytes((tmp_path / "film").read_bytes()[:200])
    with pytest.raises(FilmError, match=r"damaged|not a readable"):
        read_film(tmp_path / "film")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (3, "cannot be made of int"),
        (None, "cannot be made of NoneType"),
        (["a.png"], "cannot be made of list"),
        (io.StringIO("text"), "mode 'rb'"),
        (b"", "is empty"),
        (b"no film", "known format"),
        (pydicom.Dataset(), "holds no DICOM image"),
    ],
)
def test_what_is_no_film_is_refused(source: object, words: str) -> None:
    with pytest.raises(FilmError, match=words):
        read_film(source)
