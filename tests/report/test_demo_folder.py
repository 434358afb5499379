"""A demo's folder replaces a former demo, and nothing else."""

import pytest

from adaloraqat.errors import OutputError
from adaloraqat.report.demo_folder import MARKER, claim


def test_a_new_and_an_empty_folder_are_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty", "deep/new"):
        claim(tmp_path / name)
        assert [path.name for path in (tmp_path / name).iterdir()] == [MARKER]


def test_a_former_demo_is_replaced_whole(tmp_path):
    folder = tmp_path / "demo"
    claim(folder)
    (folder / "films").mkdir()
    (folder / "films" / "a.png").write_bytes(b"old")
    (folder / "report.html").write_text("old")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (folder / "link").symlink_to(outside)
    claim(folder)
    assert [path.name for path in folder.iterdir()] == [MARKER]
    assert (outside / "kept").read_text() == "kept"  # a link is removed, not what it points to


def test_anything_else_is_left_alone(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="mine is not empty and is no former demo"):
        claim(folder)
    assert (folder / "thesis.txt").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(folder)
    for name in ("file", "link"):
        with pytest.raises(OutputError, match=f"{name} is not a plain folder"):
            claim(tmp_path / name)
