"""nnU-Net's raw format, written and read."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from miniature import GREY, block, indexed, save
from PIL import Image

from adaloraqat.datasets.manifest import Entry
from adaloraqat.datasets.nnunet import case_name, read_predictions, write_nnunet
from adaloraqat.datasets.sources import find_source
from adaloraqat.errors import FilmError, ManifestError
from adaloraqat.radiograph import read_film, read_labels, read_mask


def entry(root: Path, identity: str, split: str | None) -> Entry:
    number = len(identity)
    image = save(root / "images" / f"{identity}.png", np.roll(GREY, number, axis=1))
    mask = save(root / "masks" / f"{identity}.png", block(2, 2, 20, 4 + number))
    return Entry(identity, "clinic", identity, split, image, mask, outlines="lung-field")


@pytest.fixture
def entries(tmp_path):
    names = {"a": "train", "Normal (1)": "train", "bb": "val", "cccc": "test"}
    return [entry(tmp_path / "own", name, split) for name, split in names.items()]


def test_written_as_nnunet_reads_it_and_back(entries, tmp_path):
    write_nnunet(entries, tmp_path / "nnUNet_raw", "Dataset501_Lungs")
    root = tmp_path / "nnUNet_raw" / "Dataset501_Lungs"
    normal = case_name("Normal (1)")
    tree = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert tree == sorted([
        "dataset.json", "splits_final.json",
        "imagesTr/a_0000.png", f"imagesTr/{normal}_0000.png", "imagesTr/bb_0000.png",
        "imagesTs/cccc_0000.png",
        "labelsTr/a.png", f"labelsTr/{normal}.png", "labelsTr/bb.png", "labelsTs/cccc.png",
    ])  # fmt: skip
    assert json.loads((root / "dataset.json").read_text()) == {
        "channel_names": {"0": "X-ray"},
        "labels": {"background": 0, "lung-field": 1},
        "numTraining": 3,
        "file_ending": ".png",
    }
    assert json.loads((root / "splits_final.json").read_text()) == [
        {"train": sorted(["a", normal]), "val": ["bb"]}
    ]
    picture = Image.open(root / "imagesTr" / "a_0000.png")
    assert picture.mode == "L"
    assert (np.asarray(picture) == np.asarray(Image.open(entries[0].path_image))).all()
    assert set(np.unique(np.asarray(Image.open(root / "labelsTr" / "a.png")))) == {0, 1}

    back, _ = indexed("nnunet", root, tmp_path / "out")
    assert {e.id: e.split for e in back.values()} == {
        "a": "train",
        normal: "train",
        "bb": "val",
        "cccc": "test",
    }
    assert {e.outlines for e in back.values()} == {"lung-field"}
    for old in entries:
        new = back[case_name(old.id)]
        assert (read_mask(new.path_mask) == read_mask(old.path_mask)).all()
        assert (read_film(new.path_image).pixels == read_film(old.path_image).pixels).all()


def test_a_film_of_more_than_eight_bits_keeps_them(tmp_path):
    film = entry(tmp_path / "own", "deep", None)
    values = np.linspace(0, 40000, 32 * 32).astype(np.uint16).reshape(32, 32)
    Image.fromarray(values).save(film.path_image)
    write_nnunet([film], tmp_path, "Dataset502_Deep")
    root = tmp_path / "Dataset502_Deep"
    written = np.asarray(Image.open(root / "imagesTr" / "deep_0000.png"))
    assert np.unique(written).size == np.unique(values).size
    assert not (root / "splits_final.json").exists()  # without a split, nnU-Net makes its own folds


def test_what_cannot_be_written(entries, tmp_path):
    with pytest.raises(ManifestError, match="Dataset501_Lungs"):
        write_nnunet(entries, tmp_path, "Lungs")
    with pytest.raises(ManifestError, match="only films of the split test"):
        write_nnunet([replace(entries[0], split="test")], tmp_path, "Dataset501_Lungs")
    entries[1].path_mask.write_bytes(b"")
    with pytest.raises(FilmError, match="Normal"):
        write_nnunet(entries, tmp_path, "Dataset501_Lungs")
    assert not (tmp_path / "Dataset501_Lungs" / "dataset.json").exists()  # it would say that all is there


def test_predictions_are_found_by_id(entries, tmp_path):
    folder = tmp_path / "predicted"
    save(folder / "cccc.png", (block(2, 2, 20, 8) // 255))
    save(folder / f"{case_name('Normal (1)')}.png", block(2, 2, 20, 8) // 255)
    (folder / "plans.json").write_text("{}")
    found = read_predictions(folder, entries)
    assert sorted(found) == ["Normal (1)", "cccc"]
    assert (read_mask(found["cccc"]) == read_mask(entries[3].path_mask)).all()
    with pytest.raises(ManifestError, match="holds no prediction of these films"):
        read_predictions(folder, entries[:1])


LABELS = {"background": 0, "left lung": 1, "right lung": 2, "heart": 3, "ignore": 4}


def foreign(tmp_path: Path, **changes) -> Path:
    root = tmp_path / "Dataset077_Chest"
    document = {"channel_names": {"0": "X-ray"}, "labels": LABELS, "numTraining": 1, "file_ending": ".png"}
    save(root / "imagesTr" / "case_1_0000.png", GREY)
    numbers = np.zeros((32, 32), np.uint8)
    numbers[4:20, 2:10], numbers[4:20, 20:30], numbers[22:30, 12:20], numbers[0:2] = 2, 1, 3, 4
    save(root / "labelsTr" / "case_1.png", numbers)
    save(root / "imagesTs" / "case_2_0000.png", GREY)
    (root / "dataset.json").write_text(json.dumps(document | changes))
    return root


def test_a_foreign_data_set_by_its_label_names(tmp_path):
    root = foreign(tmp_path)
    entries, said = indexed("nnunet", root, tmp_path / "out", "lungs")
    film = entries["case_1"]
    assert read_mask(film.path_mask).sum() == 16 * (8 + 10)
    labels = read_labels(film.path_labels)
    assert (labels[10, 5], labels[10, 25], labels[25, 15], labels[0, 0]) == (1, 2, 3, 0)
    assert any("case_2" in word for word in said)
    heart, _ = indexed("nnunet", root, tmp_path / "out", "heart")
    assert read_mask(heart["case_1"].path_mask).sum() == 8 * 8
    everything, _ = indexed("nnunet", root, tmp_path / "out")
    assert everything["case_1"].outlines == "left lung and right lung and heart"
    assert read_mask(everything["case_1"].path_mask).sum() == 16 * 18 + 64  # ignored pixels are no structure
    with pytest.raises(ManifestError, match="outlines left lung, right lung, heart, not infection"):
        find_source("nnunet").listing(root, "infection")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"file_ending": ".nii.gz"}, "only pictures"),
        ({"labels": None}, "not that of nnU-Net"),
        ({"channel_names": {"0": "a", "1": "b"}}, "several channels"),
    ],
)
def test_other_data_sets_are_refused(tmp_path, changes, says):
    root = foreign(tmp_path, **changes)
    save(root / "imagesTr" / "case_1_0001.png", GREY)
    with pytest.raises(ManifestError, match=says):
        find_source("nnunet").listing(root, "lungs")


def test_a_damaged_description(tmp_path):
    root = foreign(tmp_path)
    (root / "dataset.json").write_text('{"labels": ')
    with pytest.raises(ManifestError, match="not that of nnU-Net version 2"):
        find_source("nnunet").listing(root)
    (root / "dataset.json").write_text(json.dumps({"labels": LABELS, "file_ending": ".png"}))
    (root / "splits_final.json").write_text("[]")
    with pytest.raises(ManifestError, match="not a list of folds"):
        find_source("nnunet").listing(root)
