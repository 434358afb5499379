from pathlib import Path

import pytest

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import find_films


def test_films_are_found_sorted_and_outputs_are_not(tmp_path: Path) -> None:
    magic = b"\0" * 128 + b"DICM"
    wanted = [
        *("a.PNG", "b/c.jpg", "b/c_labels.png", "b/d.dcm", "b/e.npz", "scan", "series/1.2.840.113", "z.tiff")
    ]
    others = [
        "a_mask.png",
        "a_labels.png",  # a mask lies beside it
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


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images", ["masks", "labels"]),
        ("imagesTr", ["labelsTr"]),
        ("CXR_png", ["ManualMask", "masks"]),
        ("images", ["lung masks", "infection masks"]),
        ("img", ["mask", "gt"]),
    ],
)
def test_masks_beside_images_are_no_films(tmp_path: Path, images: str, masks: list[str]) -> None:
    for folder in (images, *masks, f"{masks[0]}/left"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        (tmp_path / "set" / folder / "a.png").write_bytes(b"any")
    assert find_films(tmp_path) == [tmp_path / "set" / images / "a.png"]
    assert len(find_films(tmp_path / "set" / masks[0])) == 2  # asked for by name


def test_a_folder_of_masks_alone_is_searched(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "ward").mkdir()
    for folder in ("masks", "ward"):
        (tmp_path / folder / "a.png").write_bytes(b"any")
    assert len(find_films(tmp_path)) == 2


def test_linked_folders_are_searched_and_each_real_folder_once(tmp_path: Path) -> None:
    root, store = tmp_path / "root", tmp_path / "store"
    for film in (root / "own/a.png", root / ".hidden/h.png", store / "ward/b.png", store / "ward/deep/c.png"):
        film.parent.mkdir(parents=True)
        film.touch()
    links = {
        root / "a": store / "ward/deep",  # first in the order of names, so the path of its films
        root / "all": store,  # the rest of it
        root / "twice": store,
        root / "again": root / "own",  # is there by itself
        root / "shown": root / ".hidden",  # its own name hides it, the link's does not
        root / "up": tmp_path,  # round the tree
        root / "own/round": root,
        store / "back": root,
        store / "ward/round": store / "ward",
        store / "ward/up": store,
        root / "broken": tmp_path / "nowhere",
        root / "self": root / "self",
    }
    for link, real in links.items():
        link.symlink_to(real)
    found = ["a/c.png", "all/ward/b.png", "own/a.png", "shown/h.png"]
    assert [path.relative_to(root).as_posix() for path in find_films(root)] == found
    (tmp_path / "door").symlink_to(root)
    assert find_films(tmp_path / "door") == [tmp_path / "door" / path for path in found]


def test_a_link_among_the_masks_of_a_data_set_is_left_out_like_a_folder(tmp_path: Path) -> None:
    for folder in ("set/images", "store"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.png").touch()
    (tmp_path / "set/masks").symlink_to(tmp_path / "store")
    assert find_films(tmp_path / "set") == [tmp_path / "set/images/a.png"]
