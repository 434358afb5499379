"""V7: Darwin JSON, in miniature as the archive has it."""

import json
from pathlib import Path

import pytest
from miniature import GREY, indexed, save

from adaloraqat.radiograph import read_labels, read_mask


def corners(left: float, top: float, right: float, bottom: float) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))]


def darwin(root: Path, number: int, name: str, annotations: list[dict], **image) -> None:
    document = {
        "dataset": "COVID-19 Chest X-Ray Dataset",
        "image": {"filename": f"{number}.png", "original_filename": name, "width": 64, "height": 64,
                  "url": "https://example.org", **image},
        "annotations": annotations,
    }  # fmt: skip
    path = root / "annotations" / "all-images" / f"{number}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def lung(**shape) -> dict:
    return {"name": "Lung", **shape}


@pytest.fixture
def v7(tmp_path):
    root = tmp_path / "v7"
    person = "person63_bacteria_306.jpeg"
    right, left = corners(4, 8, 24, 56), corners(40, 8, 60, 56)
    tags = [{"name": "Bacterial Pneumonia", "tag": {}}, {"name": "Age/60", "tag": {}}]
    darwin(root, 1, person, [lung(polygon={"path": left}), lung(polygon={"path": right}), *tags])
    hole = {"complex_polygon": {"path": [right, corners(8, 16, 16, 24)]}}
    cohen = [{"name": "Patient ID/12", "tag": {}}, {"name": "View/AP", "tag": {}}]
    darwin(root, 2, "cohen.png", [lung(**hole), *cohen])
    darwin(root, 3, "lateral.png", [{"name": "Lateral", "tag": {}}])
    darwin(root, 4, "elsewhere.png", [lung(polygon={"path": left})])
    for name in (person, "cohen.png", "lateral.png"):
        save(root / "images" / name, GREY)
    two = {
        "version": "2.0",
        "item": {
            "name": "5.png",
            "slots": [{"width": 64, "height": 64, "source_files": [{"file_name": "five.png"}]}],
        },
        "annotations": [lung(polygon={"paths": [right]})],
    }
    (root / "annotations" / "all-images" / "5.json").write_text(json.dumps(two))
    save(root / "images" / "five.png", GREY)
    (root / "annotations" / "all-images" / "6.json").write_text('{"annotations": [')
    (root / "classes.json").write_text('{"classes": []}')
    return root


def test_v7_polygons_patients_and_what_is_left_out(v7, tmp_path):
    entries, said = indexed("v7_covid19", v7, tmp_path / "out")
    assert sorted(entries) == ["cohen", "five", "person63_bacteria_306"]
    first = entries["person63_bacteria_306"]
    assert (first.patient_id, first.diagnosis, first.outlines) == (
        "kermany-person63", "Bacterial Pneumonia", "whole-lung")  # fmt: skip
    # the points are in pixels of 64 x 64, the film has 32 x 32
    mask = read_mask(first.path_mask, (32, 32))
    assert mask[4:28, 2:12].all()
    assert mask.sum() == 2 * 24 * 10
    assert (read_labels(first.path_labels)[10, [5, 25]] == (1, 2)).all()
    second = entries["cohen"]
    assert (second.patient_id, second.view, second.path_labels) == ("cohen-12", "AP", None)
    assert read_mask(second.path_mask).sum() == 24 * 10 - 4 * 4  # a hole is a hole
    assert any("without a lung (lateral or CT): 3.json" in word for word in said)
    assert any("without a film: 4.json" in word for word in said)
    assert any("6.json is not a readable Darwin JSON file" in word for word in said)
    assert "Age" not in str(entries)
