"""The list of formats: one class more is read, searched for and told from the others."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fuzz_seeds import FILM, dicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import Film, find_films, folder, formats, read_film, read_header
from adaloraqat.radiograph.formats.base import Format, Header
from adaloraqat.radiograph.formats.dicom import Dicom


class Toy(Format):
    """One byte a pixel after the mark and two sides."""

    suffixes = frozenset({".toy"})
    marks = (b"TOY!",)

    def header(self, path: Path) -> Header:
        height, width = path.read_bytes()[4:6]
        return Header((height, width))

    def read(self, path: Path) -> Film:
        return Film.from_array(
            np.frombuffer(path.read_bytes()[6:], np.uint8).reshape(self.header(path).shape)
        )


def test_a_format_is_one_class_in_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = np.random.default_rng(0).integers(0, 255, (20, 30), dtype=np.uint8)
    path = tmp_path / "a.toy"
    path.write_bytes(b"TOY!" + bytes(film.shape) + film.tobytes())
    with pytest.raises(FilmError, match="not a film in a known format"):
        read_film(path)
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, Toy()))
    monkeypatch.setattr(folder, "FORMATS", formats.FORMATS)
    monkeypatch.setattr(folder, "FILM_SUFFIXES", formats.FILM_SUFFIXES | Toy.suffixes)
    assert np.array_equal(read_film(path).pixels, film / np.float32(255))
    assert read_header(path) == Header((20, 30))
    assert find_films(tmp_path) == [path]
    path.rename(tmp_path / "a.png")  # the content decides
    assert read_film(tmp_path / "a.png").shape == (20, 30)


def test_suffixes_belong_to_one_format_and_marks_do_not_begin_alike() -> None:
    suffixes = [suffix for form in formats.FORMATS for suffix in form.suffixes]
    assert len(suffixes) == len(set(suffixes))
    marks = [mark for form in formats.FORMATS for mark in form.marks]
    assert not [(a, b) for a in marks for b in marks if a is not b and a.startswith(b)]


def test_dicoms_mark_counts_before_what_looks_like_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "film"
    path.write_bytes(b"\x89PNG".ljust(128, b"\0") + b"DICM")
    assert isinstance(formats.format_of(path), Dicom)
    assert find_films(tmp_path) == [path]  # without a suffix, by its mark


def test_objects_of_other_classes_without_rows_are_no_films(tmp_path: Path) -> None:
    """A manufacturer's own, a hanging protocol, spectroscopy, a bare report; and a private film."""
    classes = {
        "private": "1.3.12.2.1107.5.9.1",
        "hanging": "1.2.840.10008.5.1.4.38.1",
        "assessment": "1.2.840.10008.5.1.4.1.1.90.1",
        "spectroscopy": "1.2.840.10008.5.1.4.1.1.4.2",
        "bare": "1.2.840.10008.5.1.4.1.1.88.11",
        "film": "1.3.46.670589.11.0.0.12.1",
    }
    for name, uid in classes.items():
        dataset = pydicom.dcmread(io.BytesIO(dicom(FILM, ExplicitVRLittleEndian)))
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid
        if name != "film":
            del dataset.Rows, dataset.Columns, dataset.PixelData
        if name == "bare":
            dataset = Dataset(dict(dataset.items()))
        pydicom.dcmwrite(tmp_path / f"{name}.dcm", dataset, implicit_vr=False, little_endian=True)
    others: list[tuple[str, str]] = []
    assert find_films(tmp_path, left_out=lambda path, kind: others.append((path.stem, kind))) == [
        tmp_path / "film.dcm"
    ]
    assert sorted(others) == [
        ("assessment", "OTHER"),
        ("bare", "SR"),
        ("hanging", "OTHER"),
        ("private", "OTHER"),
        ("spectroscopy", "SPECTRO"),
    ]
