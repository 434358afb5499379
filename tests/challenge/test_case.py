import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaloraqat.challenge import VolumeBox, is_case, open_case, write_npz
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import Box, find_films
from adaloraqat.radiograph.formats.npz import Archive

IMAGE = np.zeros((40, 60), np.uint8)
VOLUME = np.zeros((8, 40, 60), np.uint8)
BOX = np.array([[5, 6, 20, 30]])
BOX_3D = np.array([[5, 6, 1, 20, 30, 7]])


def saved(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("arrays", "shape", "is_volume"),
    [
        ({"imgs": IMAGE, "boxes": BOX}, (1, 40, 60), False),
        ({"imgs": np.zeros((40, 60, 3), np.uint8), "boxes": BOX}, (1, 40, 60), False),
        ({"imgs": VOLUME, "boxes": BOX_3D}, (8, 40, 60), True),
        ({"imgs": np.zeros((8, 40, 60, 3), np.uint8), "boxes": BOX_3D}, (8, 40, 60), True),
        ({"imgs": VOLUME.astype(np.int16)}, (8, 40, 60), True),
        ({"imgs": np.asfortranarray(VOLUME), "boxes": BOX_3D[0].astype(np.float64)}, (8, 40, 60), True),
    ],
)
def test_shapes(tmp_path: Path, arrays: dict[str, Any], shape: tuple[int, ...], is_volume: bool) -> None:
    path = saved(tmp_path / "case.npz", **arrays)
    assert is_case(path)
    with open_case(path) as case:
        assert (case.shape, case.is_volume, case.boxes_given) == (shape, is_volume, "boxes" in arrays)
        assert case.pixels(0).shape == arrays["imgs"].shape[is_volume:]
        assert case.pixels(0).dtype == np.float32
        assert len(case.boxes) == 1
        folder = case.folder
    assert not folder.exists()


def test_a_plain_film_is_no_case(tmp_path: Path) -> None:
    assert not is_case(saved(tmp_path / "film.npz", imgs=IMAGE))
    assert not is_case(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("no archive")
    assert not is_case(tmp_path / "text.npz")


def test_boxes_truth_and_spacing(tmp_path: Path) -> None:
    boxes = np.array([[5, 6, 1, 20, 30, 7], [-3, 0, -2, 90, 10, 3.0], [0, 0, 6, 4, 4, 70]])
    path = saved(tmp_path / "c.npz", imgs=VOLUME, boxes=boxes, gts=VOLUME, spacing=(0.7, 0.7, 5))
    with open_case(path) as case:
        assert case.boxes == (
            VolumeBox(Box(5, 6, 20, 30), 1, 7),
            VolumeBox(Box(0, 0, 60, 10), 0, 3),
            VolumeBox(Box(0, 0, 4, 4), 6, 8),
        )
        assert [box.middle for box in case.boxes] == [4, 1, 7]
        assert case.truth is not None
        assert case.spacing_mm == (0.7, 0.7, 5)
    with open_case(path, box=(1, 2, 30, 40)) as case:
        assert case.boxes == (VolumeBox(Box(1, 2, 30, 40), 0, 8),)
    with open_case(saved(tmp_path / "d.npz", imgs=VOLUME, spacing=(0.0, np.nan, 1))) as case:
        assert case.spacing_mm is None  # nonsense is no reason to refuse the case
        assert case.boxes == (VolumeBox(Box(0, 0, 60, 40), 0, 8),)
        assert not case.boxes_given


def bent(array: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Write a good case, and change the bytes of one of its arrays."""

    def write(path: Path) -> None:
        saved(path, imgs=VOLUME, boxes=BOX_3D)
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        members[f"{array}.npy"] = change(members[f"{array}.npy"])
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return write


def arrays(**given: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        saved(path, **given)

    return write


def cut(path: Path) -> None:
    saved(path, imgs=np.random.default_rng(0).integers(0, 255, (8, 40, 60), dtype=np.uint8), boxes=BOX_3D)
    path.write_bytes(path.read_bytes()[:-300])


def bitten(path: Path) -> None:
    """One byte of the compressed voxels is wrong: the checksum tells."""
    saved(path, imgs=np.random.default_rng(0).integers(0, 255, (8, 40, 60), dtype=np.uint8), boxes=BOX_3D)
    content = bytearray(path.read_bytes())
    content[5000] ^= 0xFF
    path.write_bytes(content)


def promised(shape: tuple[int, ...]) -> Callable[[bytes], bytes]:
    """A header that promises more than the file holds: a bomb would follow, or nothing."""

    def change(_: bytes) -> bytes:
        text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + b"\0" * 64

    return change


BAD = {
    "no boxes in the rows": (arrays(imgs=VOLUME, boxes=np.zeros((0, 6))), "have the shape"),
    "boxes of an image for a volume": (
        arrays(imgs=VOLUME, boxes=BOX),
        "a volume needs one row of x_min y_min z",
    ),
    "boxes of a volume for an image": (
        arrays(imgs=IMAGE, boxes=BOX_3D),
        "an image needs one row of x_min y_min x",
    ),
    "too deep boxes": (arrays(imgs=IMAGE, boxes=np.zeros((1, 2, 4))), "have the shape"),
    "text boxes": (arrays(imgs=IMAGE, boxes=np.array([["a", "b", "c", "d"]])), "real numbers"),
    "inverted": (
        arrays(imgs=IMAGE, boxes=np.array([[5, 6, 20, 30], [20, 6, 5, 30]])),
        "Box 2 of .* inverted",
    ),
    "outside": (arrays(imgs=IMAGE, boxes=np.array([[500, 6, 600, 30]])), "Box 1 of .* outside"),
    "not finite": (arrays(imgs=IMAGE, boxes=np.array([[5, np.nan, 20, 30]])), "Box 1 of .* finite"),
    "inverted slices": (arrays(imgs=VOLUME, boxes=np.array([[5, 6, 4, 20, 30, 4]])), "is not below z_max"),
    "endless slices": (
        arrays(imgs=VOLUME, boxes=np.array([[5, 6, 4, 20, 30, np.inf]])),
        "must be finite",
    ),
    "slices outside": (arrays(imgs=VOLUME, boxes=np.array([[5, 6, 40, 20, 30, 50]])), "outside the volume"),
    "too many boxes": (arrays(imgs=IMAGE, boxes=np.tile(BOX, (70_000, 1))), "at most 65535"),
    "gts of another shape": (arrays(imgs=VOLUME, boxes=BOX_3D, gts=VOLUME[1:]), "gts"),
    "gts in a fraction": (arrays(imgs=IMAGE, boxes=BOX, gts=IMAGE / 2), "whole numbers"),
    "pickled image": (arrays(imgs=np.array([[None] * 20] * 20), boxes=BOX), "pickled"),
    "pickled boxes": (arrays(imgs=IMAGE, boxes=np.array([{"x": 1}])), "pickled"),
    "complex": (arrays(imgs=IMAGE.astype(complex), boxes=BOX), "real numbers"),
    "one row": (arrays(imgs=np.zeros(50), boxes=BOX), "shape"),
    "five axes": (arrays(imgs=np.zeros((2, 2, 20, 20, 3)), boxes=BOX_3D), "shape"),
    "small": (arrays(imgs=np.zeros((5, 8, 8)), boxes=BOX_3D), "8 x 8"),
    "no slices": (arrays(imgs=np.zeros((0, 40, 60)), boxes=BOX_3D), "0 slices"),
    "masks alone": (arrays(segs=VOLUME), "no array named"),
    "no image": (arrays(boxes=BOX, spacing=np.ones(3)), "no array named"),
    "cut short": (cut, "readable"),
    "a wrong byte": (bitten, "readable"),
    "text": (lambda path: path.write_text("nothing"), "readable"),
    "bomb": (bent("imgs", promised((60_000, 40_000, 60))), "readable|at most"),
    "promises more": (bent("imgs", promised((9, 40, 60))), "readable"),
    "promises less": (bent("imgs", lambda content: content + b"more"), "readable"),
    "no header": (bent("boxes", lambda content: content[10:]), "readable"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_cases_are_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    write, words = BAD[name]
    path = tmp_path / "case.npz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns of pickling what we save on purpose
        write(path)
    with pytest.raises(FilmError, match=words) as caught, open_case(path) as case:
        case.pixels(0)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(tmp_path) not in sentence


def test_zeros_without_end_are_not_unpacked(tmp_path: Path) -> None:
    """Boxes and gts that unpack to hundreds of megabytes from a file of one are refused by their shapes."""
    many = np.zeros((1_000_000, 4))
    path = saved(tmp_path / "case.npz", imgs=IMAGE, boxes=many)
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    with pytest.raises(FilmError, match="at most"), open_case(path):
        pass
    saved(tmp_path / "case.npz", imgs=IMAGE, boxes=BOX, gts=many)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    with pytest.raises(FilmError, match="gts"), open_case(path):
        pass
    assert tracemalloc.get_traced_memory()[1] - before < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_written_is_read(tmp_path: Path, order: Any) -> None:
    large = np.random.default_rng(0).integers(0, 9, (30, 250, 300)).astype(np.uint16)
    written = {"segs": np.asarray(large, order=order), "spacing": np.array([1.0, 2.0]), "one": np.array(3)}
    write_npz(tmp_path / "a.npz", written)
    write_npz(tmp_path / "b.npz", written)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as loaded:
        assert set(loaded) == set(written)
        assert all(np.array_equal(loaded[name], written[name]) for name in written)
        assert loaded["segs"].dtype == np.uint16
    with Archive(tmp_path / "a.npz") as archive:
        assert np.array_equal(archive.read("segs"), large)


def test_masks_are_no_films_of_a_folder(tmp_path: Path) -> None:
    write_npz(tmp_path / "segs.npz", {"segs": VOLUME})
    write_npz(tmp_path / "gts.npz", {"gts": VOLUME})
    write_npz(tmp_path / "case.npz", {"imgs": VOLUME, "gts": VOLUME})
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 and nothing")
    assert [path.name for path in find_films(tmp_path)] == ["case.npz", "damaged.npz"]
