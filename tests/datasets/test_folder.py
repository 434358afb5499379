import pytest

from adaloraqat.datasets.folder import list_folder
from adaloraqat.errors import ManifestError


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
        "1 film is left out, without a mask of the same name: alone.png.",
        "1 mask is left out, without a film of the same name: stray.png.",
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
