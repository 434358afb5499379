import pytest
from miniature import GREY, block, indexed, save

from adaloraqat.datasets.manifest import read_manifest, write_manifest
from adaloraqat.errors import ManifestError
from adaloraqat.radiograph import read_mask


def test_a_manifest_is_a_source_too(tmp_path):
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "a_mask.png", block(0, 0, 8, 8, 16))
    (tmp_path / "m.csv").write_text(
        "path_image,path_mask,split,spacing_mm,modality\na.png,a_mask.png,val,0.5,CT\n"
    )
    entries, _ = indexed("manifest", tmp_path / "m.csv", tmp_path / "out", "infection")
    assert (entries["a"].split, entries["a"].spacing_mm, entries["a"].outlines) == (
        "val",
        (0.5, 0.5),
        "infection",
    )
    assert entries["a"].modality == "CT"
    assert read_mask(entries["a"].path_mask, (32, 32)).sum() == 16 * 16
    (tmp_path / "m.csv").write_text("path_image,path_mask,mask_kind\na.png,a_mask.png,lungs\n")
    with pytest.raises(ManifestError, match="outline lungs, not infection"):
        indexed("manifest", tmp_path / "m.csv", tmp_path / "out", "infection")


def test_columns_of_ones_own_stay(tmp_path):
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "a_mask.png", block(0, 0, 16, 16))
    (tmp_path / "m.csv").write_text('path_image,ward,path_mask,reader\na.png,3 east,a_mask.png,"Doe, J"\n')
    entries, _ = indexed("manifest", tmp_path / "m.csv", tmp_path / "out")
    write_manifest(tmp_path / "again.csv", entries.values())
    (again,) = read_manifest(tmp_path / "again.csv")
    assert again.others == (("ward", "3 east"), ("reader", "Doe, J"))
