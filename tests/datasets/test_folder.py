import pydicom
import pytest
from miniature import GREY, block, indexed, save

from adaloraqat.datasets.folder import list_folder
from adaloraqat.datasets.manifest import read_manifest, write_manifest
from adaloraqat.datasets.phantom.write import write_dicom
from adaloraqat.errors import ManifestError
from adaloraqat.radiograph import read_film, read_mask


def make(root, **folders):
    for folder, names in folders.items():
        (root / folder).mkdir()
        for name in names:
            (root / folder / name).write_bytes(b"x")
    return root


def test_pairs_by_stem_and_reports_the_rest(tmp_path):
    root = make(
        tmp_path,
        images=["b.jpg", "a.dcm", "alone.png", "notes.txt", ".hidden.png"],
        masks=["a.png", "b_mask.png", "stray.png"],
        labels=["a.png"],
    )
    listing = list_folder(root, "infection")
    assert [(f.id, f.patient_id, f.source, f.outlines) for f in listing.films] == [
        ("a", None, root.name, "infection"),
        ("b", None, root.name, "infection"),
    ]
    assert [f.mask.name for f in listing.films] == ["a.png", "b_mask.png"]
    assert [f.path_labels and f.path_labels.name for f in listing.films] == ["a.png", None]
    assert listing.notices == (
        "1 film is skipped, without a mask of the same name: alone.png.",
        "1 mask is skipped, without a film of the same name: stray.png.",
    )


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"images": ["a.png"]}, "no folder masks/"),
        ({"masks": ["a.png"]}, "no folder images/"),
        ({"images": ["a.png"], "masks": ["b.png"]}, "No film"),
        ({"images": [], "masks": []}, "No film"),
        ({"images": ["a.png", "a.jpg"], "masks": ["a.png"]}, "both a.jpg and a.png"),
    ],
)
def test_unusable_folders(tmp_path, folders, message):
    with pytest.raises(ManifestError, match=message) as caught:
        list_folder(make(tmp_path, **folders), None)
    assert str(tmp_path) not in str(caught.value)


def test_every_film_that_can_be_read_is_indexed_whatever_its_name(tmp_path):
    root = tmp_path / "own"
    save(root / "images" / "picture.png", GREY).rename(root / "images" / "picture.dcm")
    write_dicom(root / "images" / "whole.dcm", GREY / 255, "film", "patient", (10.0, 10.5))
    # a file from before DICOM had a header: neither preamble, nor magic, nor meta information
    old = pydicom.Dataset(dict(pydicom.dcmread(root / "images" / "whole.dcm").items()))
    old.save_as(root / "images" / "old.ima", implicit_vr=True, little_endian=True)
    (root / "images" / "broken.png").write_bytes(b"no film")
    for name in ("picture", "whole", "old", "broken"):
        save(root / "masks" / f"{name}.png", block(2, 2, 9, 9))
    entries, said = indexed("folder", root, tmp_path / "out")
    assert {name: entry.spacing_mm for name, entry in entries.items()} == {
        "old": (10.0, 10.5),
        "picture": None,
        "whole": (10.0, 10.5),
    }
    assert all(read_film(entry.path_image).shape == GREY.shape for entry in entries.values())
    assert ["broken.png" in sentence for sentence in said] == [True]


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
