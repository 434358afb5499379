"""The list of formats: one class more is read, searched for and told from the others."""

from pathlib import Path

import numpy as np
import pytest

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
