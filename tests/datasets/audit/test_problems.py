from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaloraqat.datasets.audit.audit import audit
from adaloraqat.datasets.audit.mask_checks import label_findings, mask_facts, mask_findings
from adaloraqat.datasets.phantom.write import write_dicom
from adaloraqat.radiograph import read_film, read_labels


def problems(*entries):
    result = audit([(Path("films.csv"), entries)])
    return [(problem.id, problem.kind) for problem in result.problems]


def test_films_as_they_are_raise_nothing(entries):
    assert problems(*entries) == []


def test_broken_files_are_named_and_end_nothing(entries, tmp_path):
    (tmp_path / "cut.png").write_bytes(entries[0].path_image.read_bytes()[:900])
    (tmp_path / "text.png").write_text("no picture")
    broken = [
        replace(entries[0], path_image=tmp_path / "cut.png"),
        replace(entries[1], path_image=tmp_path / "gone.png"),
        replace(entries[2], path_mask=tmp_path / "text.png"),
        replace(entries[3], path_labels=tmp_path / "text.png"),
        entries[4],
    ]
    assert problems(*broken) == [
        (entries[0].id, "image-unreadable"),
        (entries[1].id, "image-unreadable"),
        (entries[2].id, "mask-unreadable"),
        (entries[3].id, "labels-unreadable"),
    ]


def test_masks_that_cannot_be_right(entries, tmp_path):
    side = 160
    masks = {
        "empty": np.zeros((side, side)),
        "full": np.full((side, side), 255),
        "small": np.full((side // 2, side // 2), 255),
        "beyond": np.pad(np.full((40, 40), 255), ((side, 0), (side, 0))),
        "one": np.pad(np.full((side // 2, side // 4), 255), ((side // 4, side // 4), (side // 4, side // 2))),
    }
    films = []
    for (name, mask), entry in zip(masks.items(), entries, strict=False):
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / f"{name}.png")
        films.append(replace(entry, id=name, path_mask=tmp_path / f"{name}.png", path_labels=None))
    found = problems(*films)
    assert {
        ("empty", "mask-empty"),
        ("full", "mask-full"),
        ("small", "mask-size"),
        ("one", "mask-one-part"),
    } <= set(found)
    assert ("beyond", "mask-size") in found
    assert ("beyond", "mask-outside") in found


def test_a_mask_of_something_else_than_lungs_is_not_judged_as_a_pair(entries, tmp_path):
    mask = np.zeros((160, 160), np.uint8)
    mask[60:80, 30:50] = 255
    Image.fromarray(mask).save(tmp_path / "spot.png")
    spot = replace(entries[0], path_mask=tmp_path / "spot.png", path_labels=None, outlines="infection")
    assert problems(spot) == []
    assert problems(replace(spot, outlines=None)) != []


def test_a_negative_a_lateral_view_a_photograph_and_a_blank_film(entries, plant, tmp_path):
    negative = plant(entries[0], "negative", lambda film: Image.eval(film, lambda value: 255 - value))
    lateral = replace(entries[1], view="Lateral")
    ramp = np.linspace(0, 255, 160).astype(np.uint8)
    colours = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], 255 - ramp[:, None]), axis=2)
    Image.fromarray(colours).save(tmp_path / "photo.png")
    photograph = replace(entries[2], path_image=tmp_path / "photo.png")
    Image.new("L", (160, 160), 90).save(tmp_path / "blank.png")
    blank = replace(entries[3], path_image=tmp_path / "blank.png")
    found = problems(negative, lateral, photograph, blank)
    assert {
        ("negative", "inverted"),
        (entries[1].id, "lateral"),
        (entries[2].id, "coloured"),
        (entries[3].id, "blank-film"),
    } <= set(found)


def test_a_dicom_film_is_opened_as_nothing_else(entries, tmp_path):
    film = read_film(entries[0].path_image)
    write_dicom(tmp_path / "film.dcm", film.pixels, "film", "patient", (0.2, 0.2))
    # what comes before a DICOM file's magic is free; here it is a red picture that Pillow could open
    content = bytearray((tmp_path / "film.dcm").read_bytes())
    red = b"P6 4 4 255\n" + b"\xff\0\0" * 16
    content[: len(red)] = red
    (tmp_path / "film.dcm").write_bytes(content)
    assert problems(replace(entries[0], path_image=tmp_path / "film.dcm")) == []


def test_a_film_upside_down_is_one_problem(entries, plant):
    turned = plant(entries[0], "turned", lambda film: film.rotate(180))
    kinds = [kind for _, kind in problems(turned)]
    assert kinds.count("upside-down") == 1
    assert not {"not-frontal-chest", "mask-upside-down"} & set(kinds)


def test_swapped_labels_and_mirrored_films(entries):
    labels = read_labels(entries[0].path_labels)
    swapped = np.array([0, 2, 1, 3], np.uint8)[labels]
    mask = np.isin(labels, (1, 2))
    kinds = lambda values, of: [kind for kind, _ in label_findings(values, of, True)]  # noqa: E731
    assert kinds(labels, mask) == []
    assert kinds(swapped, mask) == ["left-right-swapped"]
    # the whole film mirrored with its labels: the right lung lies right, and the heart left
    assert kinds(labels[:, ::-1], mask[:, ::-1]) == ["left-right-swapped", "mirrored"]
    # mirrored, but labelled by the place in the picture: only the heart tells
    assert kinds(swapped[:, ::-1], mask[:, ::-1]) == ["mirrored"]
    assert kinds(labels, ~mask) == ["labels-mask-disagree"]
    assert kinds(np.where(labels == 2, 0, labels), mask) == ["labels-one-sided"]


def test_facts_of_a_mask_by_hand():
    mask = np.zeros((100, 100), bool)
    mask[20:80, 10:40] = True  # 30 wide
    mask[20:80, 70:90] = True  # 20 wide
    facts = mask_facts(mask)
    assert facts.area == pytest.approx((30 + 20) * 60 / 10_000)
    assert facts.right_over_left == pytest.approx(1.5)
    assert facts.gap == pytest.approx(30 / 80)
    assert mask_facts(np.pad(np.ones((20, 20), bool), 20)).gap is None


def test_labels_of_another_size(entries, tmp_path):
    Image.new("L", (20, 30), 1).save(tmp_path / "labels.png")
    assert problems(replace(entries[0], path_labels=tmp_path / "labels.png")) == [
        (entries[0].id, "labels-size")
    ]


def test_messages_name_no_folder(entries, tmp_path):
    gone = replace(entries[0], path_image=tmp_path / "gone.png", path_mask=tmp_path / "gone-too.png")
    result = audit([(Path("films.csv"), [gone])])
    assert all(str(tmp_path) not in problem.message for problem in result.problems)
    assert mask_findings(np.zeros((9, 8), np.float32), np.ones((4, 5), bool), True)[0][1].startswith(
        "The mask has 5 x 4 pixels and its film 8 x 9"
    )


def test_a_film_without_the_finding_has_an_empty_mask_and_no_problem(entries, tmp_path):
    Image.fromarray(np.zeros((160, 160), np.uint8)).save(tmp_path / "none.png")
    film = replace(entries[0], path_mask=tmp_path / "none.png", path_labels=None)
    assert problems(replace(film, outlines="pneumothorax")) == []
    assert problems(replace(film, outlines="heart")) == [(film.id, "mask-empty")]
