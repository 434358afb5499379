"""The three COVID collections, in miniature as the archive has it."""

import numpy as np
import pytest
from miniature import GREY, block, indexed, save

from adaloraqat.radiograph import read_mask


def test_qata(tmp_path):
    root = tmp_path / "QaTa-COV19"
    bimcv = "sub-S09345_ses-E23117_run-1_bp-chest_vp-ap_dx"
    for division, stems in {"Train Set": ("covid_1", "covid_2"), "Test Set": (bimcv,)}.items():
        for stem in stems:
            save(root / "QaTa-COV19-v2" / division / "Images" / f"{stem}.png", GREY)
            save(root / "QaTa-COV19-v2" / division / "Ground-truths" / f"mask_{stem}.png", block(3, 3, 9, 9))
    save(root / "QaTa-COV19-v1" / "Images" / "covid_1.png", GREY)
    save(root / "QaTa-COV19-v1" / "Ground-truths" / "mask_covid_1.png", block(1, 1, 2, 2))
    entries, said = indexed("qata_cov19", root, tmp_path / "out")
    assert sorted(entries) == sorted(["covid_1", "covid_2", bimcv])
    assert {e.outlines for e in entries.values()} == {"infection"}
    assert (entries[bimcv].patient_id, entries[bimcv].view, entries[bimcv].split) == (
        "bimcv-S09345",
        "AP",
        "test",
    )
    assert entries["covid_1"].split == "train"
    # the publisher's mask is already right: nothing is copied
    assert entries["covid_1"].path_mask == root / "QaTa-COV19-v2/Train Set/Ground-truths/mask_covid_1.png"
    assert not (tmp_path / "out").exists()
    assert said == (
        "QaTa-COV19: 3 films with masks were found, 9,255 fewer than the 9,258 that were published.",
    )


def test_covid19_radiography_scales_its_masks(tmp_path):
    root = tmp_path / "COVID-19_Radiography_Dataset"
    film = np.tile(np.arange(299, dtype=np.uint16) * 255 // 298, (299, 1)).astype(np.uint8)
    for name in ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"):
        save(root / name / "images" / f"{name}-1.png", film)
        save(root / name / "masks" / f"{name}-1.png", block(64, 32, 192, 96, 256), "RGB")
    save(root / "COVID" / "images" / "COVID-2.png", film)
    (root / "COVID.metadata.xlsx").write_bytes(b"PK")
    entries, said = indexed("covid19_radiography", tmp_path, tmp_path / "out", "lungs")
    assert {e.id: e.diagnosis for e in entries.values()} == {
        "COVID-1": "COVID-19",
        "Lung_Opacity-1": "lung opacity",
        "Normal-1": "normal",
        "Viral Pneumonia-1": "viral pneumonia",
    }
    mask = read_mask(entries["Viral Pneumonia-1"].path_mask, (299, 299))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    # 64 and 192 of 256 lie at 74.75 and 224.25 of 299: pixels whose centre is inside
    assert (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) == (75, 224, 37, 112)
    assert any("COVID-2" in word for word in said)
    assert any("21,161 fewer than the 21,165" in word for word in said)


@pytest.fixture
def covid_qu_ex(tmp_path):
    root = tmp_path / "covidqu"
    lung = root / "Lung Segmentation Data" / "Lung Segmentation Data"
    infection = root / "Infection Segmentation Data" / "Infection Segmentation Data"
    films = {
        ("Train", "COVID-19"): "covid_1",
        ("Val", "Non-COVID"): "non_COVID (7)",
        ("Test", "Normal"): "Normal (1)",
    }
    for (split, name), stem in films.items():
        for subset, folders in ((lung, ("lung masks",)), (infection, ("lung masks", "infection masks"))):
            save(subset / split / name / "images" / f"{stem}.png", GREY)
            for folder in folders:
                save(subset / split / name / folder / f"{stem}.png", block(4, 4, 20, 12 + len(folder)))
    save(lung / "Train" / "COVID-19" / "images" / "covid_2.png", GREY)
    save(lung / "Train" / "COVID-19" / "lung masks" / "covid_2.png", block(1, 1, 5, 5))
    return root


def test_covid_qu_ex_keeps_its_two_parts_apart(covid_qu_ex, tmp_path):
    entries, said = indexed("covid_qu_ex", covid_qu_ex, tmp_path / "out")
    assert sorted(entries) == ["Normal (1)", "covid_1", "covid_2", "non_COVID (7)"]
    assert {e.split for e in entries.values()} == {"train", "val", "test"}
    assert all("Lung Segmentation Data" in str(e.path_mask) for e in entries.values())
    assert entries["non_COVID (7)"].diagnosis == "pneumonia, not COVID-19"
    assert "33,916 fewer than the 33,920" in said[-1]
    entries, said = indexed("covid_qu_ex", covid_qu_ex, tmp_path / "out", "infection")
    assert sorted(entries) == ["Normal (1)", "covid_1", "non_COVID (7)"]
    assert all(e.path_mask.parent.name == "infection masks" for e in entries.values())
    inner, _ = indexed("covid_qu_ex", covid_qu_ex / "Lung Segmentation Data", tmp_path / "out")
    assert len(inner) == 4


def test_covid_qu_ex_with_the_infection_part_alone(covid_qu_ex, tmp_path):
    (covid_qu_ex / "Lung Segmentation Data").rename(tmp_path / "away")
    entries, said = indexed("covid_qu_ex", covid_qu_ex, tmp_path / "out", "lungs")
    assert len(entries) == 3
    assert "Only the infection subset is present" in said[0]


def test_covid_qu_ex_same_stem_twice(covid_qu_ex, tmp_path):
    for split in ("Train", "Test"):
        for folder in ("images", "lung masks"):
            save(
                covid_qu_ex / "Lung Segmentation Data" / split / "Normal" / folder / "IM-0115-0001.png", GREY
            )
    entries, _ = indexed("covid_qu_ex", covid_qu_ex, tmp_path / "out")
    twice = [e for e in entries.values() if "IM-0115" in e.id]
    assert [e.id for e in twice] == ["train-normal-IM-0115-0001", "test-normal-IM-0115-0001"]
    assert {e.patient_id for e in twice} == {"kermany-IM-0115"}
