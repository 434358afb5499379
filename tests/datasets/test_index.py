"""Masks made and laid beside the manifest; broken files that never end the run."""

import numpy as np
import pytest
from miniature import GREY, block, save

from adaloraqat.datasets.index import index_films
from adaloraqat.datasets.listing import Listed, Listing
from adaloraqat.datasets.mask_sources import Joined, to_grid
from adaloraqat.datasets.names import patient_in, plain_name, view_in
from adaloraqat.datasets.v7_covid19 import fill
from adaloraqat.errors import FilmError, ManifestError
from adaloraqat.radiograph import HEART, LEFT_LUNG, RIGHT_LUNG, read_labels, read_mask


def test_polygons_agree_with_an_independent_inside_test():
    path = pytest.importorskip("matplotlib.path")
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[0:40, 0:50]
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    for _ in range(40):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        radii = rng.uniform(4, 30, 9)  # some points lie outside the grid
        points = np.stack([25 + radii * np.cos(angles), 20 + radii * np.sin(angles)], axis=1)
        expected = path.Path(points).contains_points(centres).reshape(40, 50)
        assert (fill([[tuple(point) for point in points]], (40, 50)) == expected).all()


def test_polygons_by_hand():
    square = [(2, 1), (6, 1), (6, 5), (2, 5)]
    assert fill([square], (8, 8)).sum() == 16
    assert fill([square, [(3, 2), (5, 2), (5, 4), (3, 4)]], (8, 8)).sum() == 12
    assert not fill([[(1, 1), (5, 5)]], (8, 8)).any()  # a line has no inside
    assert fill([[(-5, -5), (50, -5), (50, 50), (-5, 50)]], (8, 8)).all()
    assert not fill([], (8, 8)).any()


def ellipse(shape):
    rows, columns = ((np.arange(side) + 0.5) / side for side in shape)
    return ((rows[:, None] - 0.45) / 0.3) ** 2 + ((columns - 0.4) / 0.2) ** 2 <= 1


@pytest.mark.parametrize(
    ("old", "new"), [((256, 256), (299, 299)), ((1024, 1024), (2048, 2048)), ((64, 48), (32, 24))]
)
def test_a_mask_on_another_grid_keeps_its_place(old, new):
    wanted, moved = ellipse(new), to_grid(ellipse(old), new, "mask")
    assert moved.shape == new
    dice = 2 * (moved & wanted).sum() / (moved.sum() + wanted.sum())
    assert dice > 0.985 if min(new) < 50 else dice > 0.995


def test_the_mask_of_another_picture_is_refused():
    with pytest.raises(FilmError, match="256 x 200 pixels and its film 299 x 299"):
        to_grid(np.ones((200, 256), bool), (299, 299), "mask.png")
    assert to_grid(np.ones((171, 128), bool), (1333, 1000), "mask.png").all()  # sides were rounded


def listed(name: str, root, image=None, mask=None) -> Listed:
    image = image or save(root / f"{name}.png", GREY)
    return Listed(name, "here", image, mask or save(root / f"{name}_mask.png", block(2, 2, 9, 9)))


def test_one_broken_file_is_listed_and_the_others_are_done(tmp_path):
    films = [listed(name, tmp_path / "in") for name in ("good", "text", "absent", "cut", "small", "odd")]
    (tmp_path / "in" / "text.png").write_text("no picture")
    (tmp_path / "in" / "absent.png").unlink()
    (tmp_path / "in" / "cut_mask.png").write_bytes(b"\x89PNG")
    save(tmp_path / "in" / "small.png", GREY[:4, :4])
    save(tmp_path / "in" / "odd_mask.png", block(0, 0, 4, 4)[:20])
    films.append(films[0])
    films.append(listed("half", tmp_path / "in", mask=Joined([tmp_path / "in" / "nowhere.gif"])))
    seen = []

    def progress(items, what):
        for item in items:
            seen.append(item.id)
            yield item

    prepared = index_films(Listing(tuple(films), failures=("before",)), tmp_path / "out" / "m.csv", progress)
    assert [entry.id for entry in prepared.entries] == ["good"]
    assert len(seen) == len(films)
    said = "\n".join(prepared.failures)
    for words in ("before", "text.png", "absent.png", "cut_mask.png", "small.png has 4 x 4", "odd_mask.png",
                  "good is there twice", "nowhere.gif does not exist"):  # fmt: skip
        assert words in said
    assert str(tmp_path) not in said
    with pytest.raises(ManifestError, match=r"No film with a mask could be indexed.*text\.png"):
        index_films(Listing((films[1],)), tmp_path / "m.csv")


def test_ids_with_slashes_become_file_names(tmp_path):
    half = save(tmp_path / "in" / "half.png", block(0, 0, 16, 8, 16))
    film = Listed("ward 3/../film:1", "here", save(tmp_path / "in" / "a.png", GREY), Joined([half]))
    (entry,) = index_films(Listing((film,)), tmp_path / "out" / "films.csv").entries
    assert entry.path_mask.parent == tmp_path / "out" / "films_masks"
    assert read_mask(entry.path_mask, (32, 32)).sum() == 32 * 16
    assert entry.id == "ward 3/../film:1"
    names = [plain_name(identity) for identity in ("a", "a b", "a-b", "a/b", "a.b", "..", "Ä", "ä")]
    assert len(set(names)) == len(names)
    assert all("/" not in name and name.isascii() and not name.startswith(".") for name in names)


def labels_of(side):
    """A lung at each side and a heart that touches the left one, with edges on a grid of 32 by 32."""
    labels = np.zeros((32, 32), np.uint8)
    for label, left, right in ((RIGHT_LUNG, 3, 10), (HEART, 13, 19), (LEFT_LUNG, 19, 29)):
        labels[6:26, left:right] = label
    return np.repeat(np.repeat(labels, side // 32, axis=0), side // 32, axis=1)


@pytest.mark.parametrize("mask_size", [64, 160])
def test_labels_come_onto_the_films_grid_with_the_mask(tmp_path, mask_size):
    film = save(tmp_path / "in" / "a.png", np.tile(np.arange(160, dtype=np.uint8), (160, 1)))
    small, wanted = labels_of(64), labels_of(160)
    labels = save(tmp_path / "in" / "a_labels.png", small)
    lungs = np.isin(labels_of(mask_size), (RIGHT_LUNG, LEFT_LUNG))
    mask = save(tmp_path / "in" / "a_mask.png", lungs.astype(np.uint8) * 255)
    listed = Listed("a", "here", film, mask, path_labels=labels)
    (entry,) = index_films(Listing((listed,)), tmp_path / "out" / "films.csv").entries
    assert entry.path_labels == tmp_path / "out" / "films_labels" / "a.png"
    moved = read_labels(entry.path_labels, (160, 160))
    assert set(np.unique(moved)) == {0, RIGHT_LUNG, LEFT_LUNG, HEART}
    assert (moved != wanted).mean() < 0.002  # the corners are rounded
    sides = np.isin(moved, (RIGHT_LUNG, LEFT_LUNG))
    outlined = read_mask(entry.path_mask, (160, 160))
    assert (sides == outlined).all() if mask_size == 64 else (sides != outlined).mean() < 0.002
    assert (read_labels(labels) == small).all()  # the user's own file stays as it was


def test_labels_on_the_films_grid_are_pointed_at_and_those_of_another_picture_refused(tmp_path):
    film = save(tmp_path / "a.png", np.tile(np.arange(160, dtype=np.uint8), (160, 1)))
    mask = save(tmp_path / "mask.png", block(20, 20, 90, 90, 160))
    own = save(tmp_path / "own.png", labels_of(160))
    other = save(tmp_path / "other.png", labels_of(64)[:40])
    films = [Listed(path.stem, "here", film, mask, path_labels=path) for path in (own, other)]
    prepared = index_films(Listing(tuple(films)), tmp_path / "out" / "films.csv")
    assert [(entry.path_mask, entry.path_labels) for entry in prepared.entries] == [(mask, own)]
    assert len(prepared.failures) == 1
    assert "other.png has 64 x 40 pixels and its film 160 x 160" in prepared.failures[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("stem", "patient", "view"),
    [
        ("sub-S09345_ses-E23117_run-1_bp-chest_vp-ap_dx", "bimcv-S09345", "AP"),
        ("sub-S04630_ses-E11071_acq-2_run-1_bp-chest_vp-ll_cr", "bimcv-S04630", "lateral"),
        ("person63_bacteria_306", "kermany-person63", None),
        ("NORMAL2-IM-0115-0001", "kermany-IM-0115", None),
        ("00012345_003", "nih-00012345", None),
        ("covid_12", None, None),
        ("Normal (12)", None, None),
    ],
)
def test_patients_and_views_in_file_names(stem, patient, view):
    assert (patient_in(stem), view_in(stem)) == (patient, view)
