import pytest

from adaloraqat.datasets.folder import index_folder
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
    index = index_folder(root, source="clinic")
    assert [(e.id, e.patient_id, e.source, e.split) for e in index.entries] == [
        ("a", "a", "clinic", None),
        ("b", "b", "clinic", None),
    ]
    assert [e.path_mask.name for e in index.entries] == ["a.png", "b_mask.png"]
    assert [e.path_labels and e.path_labels.name for e in index.entries] == ["a.png", None]
    assert len(index.notices) == 2
    assert "alone.png" in index.notices[0]
    assert "stray.png" in index.notices[1]


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
        index_folder(make(tmp_path, **folders))
    assert str(tmp_path) not in str(caught.value)
