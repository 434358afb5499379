"""Tuberculosis films of the NLM, in miniature as the archive has it."""

from miniature import GREY, block, indexed, save

from adaloraqat.radiograph import read_labels, read_mask


def test_montgomery_halves_and_readings(tmp_path):
    root = tmp_path / "MontgomerySet"
    for stem in ("MCUCXR_0001_0", "MCUCXR_0104_1"):
        save(root / "CXR_png" / f"{stem}.png", GREY)
        # a viewer's right lung is on the image's left
        save(root / "ManualMask" / "rightMask" / f"{stem}.png", block(4, 2, 20, 10))
        save(root / "ManualMask" / "leftMask" / f"{stem}.png", block(4, 20, 20, 30))
    reading = root / "ClinicalReadings" / "MCUCXR_0104_1.txt"
    reading.parent.mkdir()
    reading.write_text("Patient's Sex: F\nPatient's Age: 040Y\ncavitary nodular infiltrate in RUL\n")
    entries, said = indexed("montgomery", root, tmp_path / "out")
    healthy, ill = entries["MCUCXR_0001_0"], entries["MCUCXR_0104_1"]
    assert (healthy.source, healthy.diagnosis, ill.diagnosis) == (
        "montgomery", "normal", "cavitary nodular infiltrate in RUL")  # fmt: skip
    labels = read_labels(ill.path_labels)
    assert (labels[10, 5], labels[10, 25]) == (1, 2)
    assert read_mask(ill.path_mask).sum() == 16 * 8 + 16 * 10
    assert healthy.spacing_mm is None  # the film is not at its published size
    assert "135 fewer" not in said[-1]
    assert "136 fewer than the 138" in said[-1]


def test_montgomery_spacing_at_full_size():
    spacing = indexed_spacing((4020, 4892))
    assert spacing == indexed_spacing((4892, 4020)) == (0.0875, 0.0875)
    assert indexed_spacing((2048, 2048)) is None


def indexed_spacing(shape):
    from adaloraqat.datasets.montgomery_shenzhen import _montgomery_spacing

    return _montgomery_spacing(shape)


def test_shenzhen_has_masks_for_some(tmp_path):
    root = tmp_path / "shenzhen"
    for stem in ("CHNCXR_0001_0", "CHNCXR_0025_0", "CHNCXR_0327_1"):
        save(root / "ChinaSet_AllFiles" / "CXR_png" / f"{stem}.png", GREY)
    for stem in ("CHNCXR_0001_0", "CHNCXR_0327_1"):
        save(root / "mask" / "mask" / f"{stem}_mask.png", block(4, 4, 20, 28))
    readings = root / "ChinaSet_AllFiles" / "ClinicalReadings"
    readings.mkdir()
    (readings / "CHNCXR_0001_0.txt").write_text("male 45yrs\nnormal\n")
    entries, said = indexed("shenzhen", root, tmp_path / "out", "lungs")
    assert {e.id: e.diagnosis for e in entries.values()} == {
        "CHNCXR_0001_0": "normal",
        "CHNCXR_0327_1": "tuberculosis",
    }
    assert {e.outlines for e in entries.values()} == {"lung-field"}
    assert any("CHNCXR_0025_0" in word for word in said)


def test_the_joint_edition_of_both(tmp_path):
    root = tmp_path / "Lung Segmentation"
    for stem, ending in (("MCUCXR_0001_0", ""), ("CHNCXR_0001_0", "_mask")):
        save(root / "CXR_png" / f"{stem}.png", GREY)
        save(root / "masks" / f"{stem}{ending}.png", block(4, 4, 20, 28))
    entries, _ = indexed("montgomery_shenzhen", root, tmp_path / "out")
    assert {e.source for e in entries.values()} == {"montgomery", "shenzhen"}
    only, _ = indexed("montgomery", root, tmp_path / "out")
    assert list(only) == ["MCUCXR_0001_0"]
