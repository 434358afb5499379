from collections import Counter

import numpy as np
import pytest
from PIL import Image

from adaloraqat.challenge import is_case, open_case
from adaloraqat.challenge.phantoms import (
    MODALITIES,
    boxes_of,
    draw_ultrasound,
    draw_volume,
    write_case_phantoms,
)
from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.errors import FilmError, ManifestError


@pytest.mark.parametrize("size", [32, 96])
def test_a_stack_is_a_chest(size):
    for seed in range(6):
        stack = draw_volume(seed, size, 16)
        assert stack.pixels.shape == stack.labels.shape == (16, size, size)
        assert stack.pixels.dtype == stack.labels.dtype == np.uint8
        assert set(np.unique(stack.labels)) == {0, 1, 2, 3}
        right, left, heart = (np.argwhere(stack.labels == label).mean(0) for label in (1, 2, 3))
        assert right[2] < heart[2] < left[2]
        assert heart[1] < right[1]  # in front
        grey = [stack.pixels[stack.labels == label].mean() for label in (1, 2, 3)]
        assert max(grey[:2]) < 60 < 120 < grey[2]
        areas = (stack.labels == 1).sum(axis=(1, 2))
        assert areas[0] < areas.max() > areas[-1]  # it tapers to both ends
        assert stack.spacing_mm == pytest.approx((340 / size, 340 / size, 280 / 16))


def test_an_ultrasound_picture_is_a_fan_with_cysts():
    counts = set()
    for seed in range(12):
        picture = draw_ultrasound(seed, 96)
        labels = np.unique(picture.labels)
        assert np.array_equal(labels, np.arange(len(labels)))
        counts.add(len(labels) - 1)
        assert (picture.pixels[-1, :10] == 0).all()  # outside the fan
        cyst, around = (
            picture.pixels[picture.labels == 1],
            picture.pixels[40:80, 40:56][picture.labels[40:80, 40:56] == 0],
        )
        assert cyst.mean() < 0.5 * around.mean()
    assert counts == {1, 2, 3}


@pytest.mark.parametrize("draw", [draw_volume, draw_ultrasound])
def test_seeds(draw):
    assert np.array_equal(draw(3, 64).pixels, draw(3, 64).pixels)
    assert not np.array_equal(draw(3, 64).pixels, draw(4, 64).pixels)
    with pytest.raises(FilmError, match="size from 32"):
        draw(0, 8)
    with pytest.raises(FilmError, match="negative"):
        draw(-1, 64)


def test_boxes():
    labels = np.zeros((5, 20, 30), np.uint8)
    labels[1:3, 4:9, 10:20] = 1
    labels[4, 0, 29] = 2
    assert boxes_of(labels).tolist() == [[10, 4, 1, 20, 9, 3], [29, 0, 4, 30, 1, 5]]
    assert boxes_of(labels[1]).tolist() == [[10, 4, 20, 9]]


def test_a_folder_a_modality_then_the_data_set(tmp_path):
    counts = {"XRay": 4, "CT": 1, "US": 2}
    entries = write_case_phantoms(tmp_path / "a", counts, seed=5, size=48)
    write_case_phantoms(tmp_path / "b", counts, seed=5, size=48)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert files == sorted(
        path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*") if path.is_file()
    )
    assert all((tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() for path in files)
    cases = [path for path in files if path.suffix == ".npz"]
    assert {path.parts[:3] for path in cases} == {(name, "phantom", "npz") for name in MODALITIES}
    assert sorted(path.name.split("_")[:2] for path in cases) == sorted(
        [["2DBox", "XRay"]] * 4 + [["2DBox", "US"]] * 2 + [["3DBox", "CT"]]
    )
    for path in cases:
        assert is_case(tmp_path / "a" / path)
        with open_case(tmp_path / "a" / path) as case:
            assert case.truth is not None
            assert len(case.boxes) == case.truth.max()
    read = read_manifest(tmp_path / "a" / "manifest.csv")
    assert [entry.id for entry in read] == [entry.id for entry in entries]
    assert {entry.modality for entry in read} == set(counts)
    assert len({entry.split for entry in read if entry.modality == "CT"}) == 1  # one case, one split
    for entry in read:
        with Image.open(entry.path_image) as image, Image.open(entry.path_mask) as mask:
            assert image.size == mask.size == (48, 48)
            assert np.asarray(mask).max() == 255


def test_the_splits_have_the_promised_shares(tmp_path):
    entries = write_case_phantoms(tmp_path, {"XRay": 20}, size=32)
    assert Counter(entry.split for entry in entries) == {"train": 14, "val": 3, "test": 3}


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(ManifestError, match="no phantom of 'PET'"):
        write_case_phantoms(tmp_path, {"PET": 1})
    with pytest.raises(ManifestError, match="count"):
        write_case_phantoms(tmp_path, {"CT": 0})
