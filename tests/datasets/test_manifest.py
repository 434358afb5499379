import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from adaloraqat.datasets.manifest import Entry, fingerprint, read_manifest, select, write_manifest
from adaloraqat.errors import ManifestError

FILMS = os.environ.get("ADALORAQAT_FILMS")


@pytest.fixture
def films(tmp_path):
    for name in ("a", "b", "c"):
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / kind / f"{name}.png").write_bytes(f"{kind} {name}".encode())
    return tmp_path


def written(folder: Path, text: str, name: str = "films.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def entry(folder: Path, name: str, **changes) -> Entry:
    plain = Entry(
        name, "here", name, None, folder / "images" / f"{name}.png", folder / "masks" / f"{name}.png"
    )
    return replace(plain, **changes)


def test_two_columns_are_enough(films):
    read = read_manifest(
        written(films, "path_image,path_mask\nimages/a.png,masks/a.png\n\nimages/b.png,masks/b.png\n")
    )
    assert [e.id for e in read] == ["a", "b"]
    assert read[0] == entry(films, "a", source="films")


def test_known_columns_are_read_and_others_kept(films):
    text = (
        "\ufeffnote,id, patient_id ,split,spacing_mm,path_labels,path_mask,path_image,source\n"
        '"x, y",one,p1,Validation,0.5 0.25,masks/b.png,masks/a.png,images/a.png,site\n'
    )
    (read,) = read_manifest(written(films, text))
    assert read == Entry(
        "one",
        "site",
        "p1",
        "val",
        films / "images/a.png",
        films / "masks/a.png",
        films / "masks/b.png",
        (0.5, 0.25),
        others=(("note", "x, y"),),
    )


def test_how_a_mask_was_made_is_not_what_it_outlines(films):
    rows = (
        "path_image,path_mask,mask_kind",
        "images/a.png,masks/a.png,manual",
        "images/b.png,masks/b.png,lungs",
    )
    text = "\n".join(rows)
    assert [e.outlines for e in read_manifest(written(films, text))] == [None, "lungs"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the column path_image and the column path_mask"),
        ("path_image\nimages/a.png\n", "lacks the column path_mask"),
        ("path_image;path_mask\nimages/a.png;masks/a.png\n", "comma-separated"),
        ("path_image,path_mask\n", "has no film"),
        ("path_image,path_mask\nimages/a.png,\n", "mask is missing in row 2"),
        (
            "path_image,path_mask\nimages/a.png,masks/a.png\nimages/x.png,masks/a.png\n",
            "'x.png' named in row 3",
        ),
        ("path_image,path_mask\nimages,masks/a.png\n", "'images' named in row 2"),
        (
            "path_image,path_mask\nimages/a.png,masks/a.png\nimages/a.png,masks/a.png\n",
            "'a' is used in rows 2 and 3",
        ),
        ("path_image,path_mask\nimages/a.png,masks/a.png,more\n", "Row 2 .* has 3 cells"),
        ("path_image,path_mask,path_mask\nimages/a.png,masks/a.png,\n", "names a column twice"),
        ("path_image,path_mask,split\nimages/a.png,masks/a.png,later\n", "split 'later' in row 2"),
        ("path_image,path_mask,spacing_mm\nimages/a.png,masks/a.png,-1\n", "spacing_mm '-1' in row 2"),
        ("path_image,path_mask,spacing_mm\nimages/a.png,masks/a.png,nan\n", "spacing_mm 'nan' in row 2"),
        ('path_image,path_mask\nimages/a.png,"masks/a.png\n', "not a CSV file"),
    ],
)
def test_bad_manifests_get_one_sentence(films, text, message):
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(written(films, text))
    assert str(films) not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_manifests(films):
    with pytest.raises(ManifestError, match=r"There is no manifest none\.csv"):
        read_manifest(films / "none.csv")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(films)
    (films / "binary.csv").write_bytes(b"\xff\xfe\x00\x89PNG")
    with pytest.raises(ManifestError, match="not UTF-8"):
        read_manifest(films / "binary.csv")


def test_round_trip_and_moving_the_folder(films, tmp_path_factory):
    entries = [
        entry(films, "a", split="train", patient_id="p, 1", spacing_mm=(0.1, 0.1)),
        entry(films, "b", split=None, path_labels=films / "masks/c.png", spacing_mm=(1 / 3, 0.2)),
        entry(
            films,
            "c",
            outlines="lung-field",
            diagnosis="TB, left",
            licence="CC BY 4.0; cite",
            view="AP supine",
        ),
    ]
    write_manifest(films / "sub" / "m.csv", entries)
    assert read_manifest(films / "sub" / "m.csv") == entries
    assert str(films) not in (films / "sub" / "m.csv").read_text()
    moved = tmp_path_factory.mktemp("elsewhere") / "moved"
    films.rename(moved)
    assert [e.path_image.parent.parent for e in read_manifest(moved / "sub" / "m.csv")] == [moved] * 3


def test_fingerprint_follows_ids_and_bytes_only(films):
    entries = [entry(films, name) for name in "abc"]
    original = fingerprint(entries)
    assert fingerprint(random.Random(1).sample(entries, 3)) == original
    assert fingerprint([replace(e, split="test") for e in entries]) == original
    assert fingerprint(entries[:2]) != original
    (films / "masks" / "a.png").write_bytes(b"another outline")
    assert fingerprint(entries) != original
    (films / "masks" / "a.png").unlink()
    with pytest.raises(ManifestError, match="film 'a'"):
        fingerprint(entries)


def test_select(films):
    entries = [
        entry(films, "a", split="train"),
        entry(films, "b", split="val"),
        entry(films, "c", split="train"),
    ]
    assert [e.id for e in select(entries, "train")] == ["a", "c"]
    with pytest.raises(ManifestError, match="no film in the split 'test'"):
        select(entries, "test")


@pytest.mark.skipif(not FILMS, reason="ADALORAQAT_FILMS does not name the folder of real films")
def test_real_manifest():
    entries = read_manifest(Path(str(FILMS)) / "cxr" / "manifest.csv")
    counts = {source: sum(e.source == source for e in entries) for source in {e.source for e in entries}}
    assert counts == {"jsrt": 240, "shenzhen": 554, "covid_v7": 328}
    assert len({e.patient_id for e in entries if e.source == "covid_v7"}) == 200
    assert all((e.path_labels is not None) == (e.source == "jsrt") for e in entries)
    assert {e.outlines for e in entries} == {None}  # its mask_kind says how the masks were made
    assert all(e.diagnosis and e.licence for e in entries if e.source == "jsrt")


def test_columns_of_the_users_own_survive(films):
    first = written(
        films, 'path_image,age,path_mask,ward\nimages/a.png,61,masks/a.png,"3, east"\n', "one.csv"
    )
    second = written(films, "path_image,path_mask,ward,\nimages/b.png,masks/b.png,4,\n", "two.csv")
    write_manifest(films / "both.csv", [*read_manifest(first), *read_manifest(second)])
    again = read_manifest(films / "both.csv")
    assert again[0].others == (("age", "61"), ("ward", "3, east"))
    assert again[1].others == (("age", ""), ("ward", "4"))


def test_a_manifest_written_on_windows(films):
    (read,) = read_manifest(written(films, "path_image,path_mask\r\nimages\\a.png,masks\\a.png\r\n"))
    assert (read.id, read.path_image) == ("a", films / "images" / "a.png")
    lost = written(films, "path_image,path_mask\r\nC:\\Users\\someone\\a.png,masks\\a.png\r\n")
    with pytest.raises(ManifestError, match=r"The image 'a\.png' named in row 2"):
        read_manifest(lost)
