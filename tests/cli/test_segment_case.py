"""`adaloraqat segment case.npz`, as a user calls it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import two_lungs

Run = Callable[..., Any]


def case(path: Path, depth: int | None = None, **more: Any) -> np.ndarray:
    """Write two dark ellipses with a box each, as an image or in every slice; returns the truth."""
    path.parent.mkdir(parents=True, exist_ok=True)
    film = two_lungs()
    truth = (film < 100).astype(np.uint8)
    truth[:, 64:] *= 2
    boxes = []
    for label in (1, 2):
        rows, columns = np.nonzero(truth == label)
        low, high = [columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]
        boxes.append([*low, *high] if depth is None else [*low, 1, *high, depth - 1])
    if depth is not None:
        film, truth = (np.repeat(array[None], depth, axis=0) for array in (film, truth))
        truth[[0, -1]] = 0
    np.savez_compressed(path, **{"imgs": film, "boxes": np.array(boxes), "gts": truth, **more})
    return truth


def segs(path: Path) -> np.ndarray:
    with np.load(path) as loaded:
        assert list(loaded) == ["segs"]
        return loaded["segs"]


@pytest.mark.parametrize("depth", [None, 8])
@pytest.mark.parametrize("propagate", ["box", "mask"])
def test_segs_on_the_grid_of_imgs(
    run: Run, bundle: Path, tmp_path: Path, depth: int | None, propagate: str
) -> None:
    truth = case(tmp_path / "case.npz", depth)
    ended = run("segment", "case.npz", "--model", bundle, "--out", "out", "--propagate", propagate)
    assert (ended.code, ended.out, ended.err) == (0, "out/case.npz\n", "")
    found = segs(tmp_path / "out/case.npz")
    assert (found.shape, found.dtype) == (truth.shape, np.uint8)
    for label in (1, 2):
        common = np.count_nonzero((found == label) & (truth == label))
        assert 2 * common / (np.count_nonzero(found == label) + np.count_nonzero(truth == label)) > 0.85
    if depth:
        assert not found[[0, -1]].any()


def test_json_of_a_volume(run: Run, bundle: Path, tmp_path: Path) -> None:
    case(tmp_path / "case.npz", 8, spacing=(0.5, 0.5, 2.0))
    ended = run("segment", "case.npz", "--model", bundle, "--out", "out", "--json", "--overlay")
    assert ended.code == 0
    [entry] = json.loads(ended.out)["results"]
    assert (entry["path"], entry["mask"], entry["overlay"]) == (
        "case.npz",
        "out/case.npz",
        "out/case_overlay.png",
    )
    assert (entry["width"], entry["height"], entry["slices"], entry["encoded"]) == (128, 128, 8, 6)
    assert entry["box_source"] == "file"
    assert entry["spacing_mm"] == [0.5, 0.5, 2.0]
    found = segs(tmp_path / "out/case.npz")
    for label, own in enumerate(entry["objects"], start=1):
        assert own["label"] == label
        assert own["voxels"] == np.count_nonzero(found == label)
        assert own["volume_mm3"] == own["voxels"] * 0.5
        assert own["dice"] > 0.85
        assert own["quality"] == 0.9
        assert own["box"][2::3] == [1, 7]
    parts = entry["milliseconds_of"]
    assert set(parts) == {"open", "read", "encode", "decode", "place", "count", "write"}
    assert 0.5 * entry["milliseconds"] < sum(parts.values()) <= entry["milliseconds"] + 1
    with Image.open(tmp_path / "out/case_overlay.png") as overlay:
        assert overlay.size == (256, 128)  # a tile for each of two objects
        assert overlay.mode == "RGB"


def test_nobody_speaks_of_lungs(run: Run, bundle: Path, tmp_path: Path) -> None:
    """A film like this raises warnings; a case of it is no chest film."""
    noise = np.random.default_rng(0).integers(90, 160, (128, 128, 3), dtype=np.uint8)
    np.savez(tmp_path / "case.npz", imgs=noise, boxes=np.array([[10, 10, 40, 40]]))
    ended = run("segment", "case.npz", "--model", bundle, "--json")
    [entry] = json.loads(ended.out)["results"]
    assert all(warning.startswith("empty-object: ") for warning in entry["warnings"])
    assert "lung" not in ended.err


def test_a_given_box_replaces_the_files(run: Run, bundle: Path, tmp_path: Path) -> None:
    case(tmp_path / "case.npz", 6)
    ended = run("segment", "case.npz", "--model", bundle, "--json", "--box", 64, 0, 128, 128)
    [entry] = json.loads(ended.out)["results"]
    assert entry["box_source"] == "given"
    assert [own["box"] for own in entry["objects"]] == [[64, 0, 0, 128, 128, 6]]
    found = segs(tmp_path / "adaloraqat-masks/case.npz")
    assert found[:, :, 70:].any(axis=(1, 2)).all()
    assert not found[:, :, :60].any()


def test_without_boxes(run: Run, bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "film.npz", imgs=two_lungs())
    np.savez(tmp_path / "stack.npz", imgs=np.repeat(two_lungs()[None], 5, axis=0))
    ended = run("segment", "film.npz", "stack.npz", "--model", bundle, "--json", "--out", "out")
    film, stack = json.loads(ended.out)["results"]
    assert (film["mask"], film["box_source"]) == ("out/film_mask.png", "whole film")
    assert (stack["mask"], stack["box_source"]) == ("out/stack.npz", "whole slices")
    with Image.open(tmp_path / "out/film_mask.png") as mask:
        for found in segs(tmp_path / "out/stack.npz"):
            assert np.array_equal(found > 0, np.asarray(mask) > 0)


def test_bad_cases_among_good_ones(run: Run, bundle: Path, tmp_path: Path) -> None:
    case(tmp_path / "in/a.npz")
    case(tmp_path / "in/b.npz", boxes=np.array([[5, 5, 3, 9]]))
    case(tmp_path / "in/c.npz", 4, boxes=np.array([[5, 5, 9, 9]]))
    case(tmp_path / "in/d.npz", 4)
    nan = np.full((4, 128, 128), np.nan)
    np.savez(tmp_path / "in/e.npz", imgs=nan, boxes=np.array([[5, 5, 0, 9, 9, 4]]))
    (tmp_path / "in/f.npz").write_bytes((tmp_path / "in/d.npz").read_bytes()[:-100])
    ended = run("segment", "in", "--model", bundle, "--json", "--out", "in/out")
    assert ended.code == 1
    errors = {entry["path"]: entry["error"] for entry in json.loads(ended.out)["results"]}
    assert [name for name, error in errors.items() if error] == ["b.npz", "c.npz", "e.npz", "f.npz"]
    assert sorted(path.name for path in (tmp_path / "in/out").iterdir()) == ["a.npz", "d.npz"]
    assert len([line for line in ended.err.splitlines() if " films" not in line]) == 5
    again = run("segment", "in", "--model", bundle, "--json", "--out", "in/out")  # meets its own results
    assert {entry["path"] for entry in json.loads(again.out)["results"]} == set(errors)
    assert run("segment", "in/b.npz", "--model", bundle).code == 2


def test_a_case_is_never_overwritten(run: Run, bundle: Path, tmp_path: Path) -> None:
    case(tmp_path / "case.npz")
    precious = (tmp_path / "case.npz").read_bytes()
    ended = run("segment", "case.npz", "--model", bundle, "--out", ".")
    assert ended.code == 2
    assert "would overwrite the input case.npz" in ended.err
    assert (tmp_path / "case.npz").read_bytes() == precious


def test_engines_agree(run: Run, bundle: Path, tmp_path: Path) -> None:
    case(tmp_path / "case.npz", 6)
    for engine in ("onnxruntime", "openvino"):
        assert run("segment", "case.npz", "--model", bundle, "--engine", engine, "--out", engine).code == 0
    first, second = (segs(tmp_path / engine / "case.npz") for engine in ("onnxruntime", "openvino"))
    assert (first == second).mean() > 0.999


def test_phantoms_of_every_modality_with_the_shipped_model(run: Run, tmp_path: Path) -> None:
    """The lung model knows none of these; what holds for every model is the form of the answer."""
    wanted = [option for name in ("XRay", "US", "CT") for option in ("--modality", name)]
    assert run("data", "phantom", "--count", 1, "--size", 64, "--out", "cases", *wanted).code == 0
    paths = sorted(path.relative_to(tmp_path) for path in tmp_path.glob("cases/*/phantom/npz/*.npz"))
    ended = run("segment", *paths, "--model", "lung-field-fast", "--json", "--overlay", "--out", "out")
    assert ended.code == 0
    for path, entry in zip(paths, json.loads(ended.out)["results"], strict=True):
        with np.load(tmp_path / path) as given:
            found = segs(tmp_path / entry["mask"])
            assert found.shape == given["imgs"].shape
            assert found.max() <= len(given["boxes"]) == len(entry["objects"])
            if found.ndim == 3:
                covered = {z for box in given["boxes"] for z in range(box[2], box[5])}
                assert entry["encoded"] == len(covered)
                assert not found[[z for z in range(len(found)) if z not in covered]].any()
        assert all(own["dice"] is not None for own in entry["objects"])
