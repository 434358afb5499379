from pathlib import Path

import pytest

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import find_films


def test_films_are_found_sorted_and_outputs_are_not(tmp_path: Path) -> None:
    magic = b"\0" * 128 + b"DICM"
    wanted = ["a.PNG", "b/c.jpg", "b/d.dcm", "b/e.npz", "scan", "series/1.2.840.113", "z.tiff"]
    others = [
        "a_mask.png",
        "b/c_overlay.png",
        "notes.txt",
        ".hidden.png",
        ".cache/f.png",
        "README",
        "table.csv",
    ]
    for name in wanted + others:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(magic if name in ("scan", "series/1.2.840.113") else b"any")
    assert [path.relative_to(tmp_path).as_posix() for path in find_films(tmp_path)] == wanted


def test_a_file_is_itself(tmp_path: Path) -> None:
    (tmp_path / "any_mask.png").write_bytes(b"x")
    assert find_films(tmp_path / "any_mask.png") == [tmp_path / "any_mask.png"]


def test_nothing_to_find_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FilmError, match="holds no films"):
        find_films(tmp_path)
    with pytest.raises(FilmError, match="does not exist"):
        find_films(tmp_path / "none")
