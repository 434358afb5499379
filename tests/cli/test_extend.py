"""`extend`, then `segment --measures` and `--strict` with what it added, as a user calls them."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from adaloraqat.bundle import Segmenter, load_bundle
from adaloraqat.bundle.runtimes import onnxruntime_session
from adaloraqat.cli.main import app
from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.errors import ManifestError
from adaloraqat.evaluate.calibration import calibrate_quality
from adaloraqat.measure.overlap import dice
from adaloraqat.radiograph import read_film, read_mask

Run = Callable[..., Any]


def rows_of(films: Path) -> list[dict[str, str]]:
    with (films / "manifest.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small phantoms: 24 to train on, 22 to validate on, 4 and 2 of a source that teaches sides alone."""
    folder = tmp_path_factory.mktemp("extend")
    write_phantoms(folder, 52, seed=11, size=96)
    rows = rows_of(folder)
    for place, row in enumerate(rows):
        row["split"] = "train" if place < 24 or place >= 48 else "val"
        if place >= 46:
            row["source"] = "other"
    write_rows(folder / "manifest.csv", rows)
    return folder


@pytest.fixture(scope="module")
def extended(bundle: Path, films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "extended"
    call = [
        "extend",
        bundle,
        "--data",
        films / "manifest.csv",
        "--out",
        out,
        "--epochs",
        24,
        "--views",
        2,
        "--corrupted",
        1,
        "--sides-from",
        "other",
    ]
    ended = CliRunner().invoke(app, list(map(str, call)), catch_exceptions=False)
    assert ended.exit_code == 0, ended.stderr
    return out


def entries(films: Path) -> list[dict[str, str]]:
    return [row for row in rows_of(films) if row["split"] == "val" and row["source"] != "other"]


def test_the_bundle_knows_more_and_its_masks_are_the_same(bundle: Path, extended: Path, films: Path) -> None:
    before, after = Segmenter.load(bundle), Segmenter.load(extended)
    path = films / entries(films)[0]["path_image"]
    first, second = before.segment(path), after.segment(path)
    assert np.array_equal(first.mask, second.mask)
    assert (first.structures, first.quality_error) == (None, None)
    assert second.structures is not None
    assert second.quality_error is not None
    facts = load_bundle(extended).structures
    assert (facts["films"], facts["films_for_sides"], facts["validation_films"]) == (24, 28, 24)
    assert facts["validation_dice"]["heart"] > 0.4  # of a one-channel embedding of 16 x 16 cells
    graph = load_bundle(extended).structures_graph
    labels = onnxruntime_session(graph, 1).get_modelmeta().custom_metadata_map
    assert (labels["name"], labels["licence"]) == (after.bundle.name, after.bundle.licence)


def test_structures_of_a_bundle_with_the_same_encoder_are_taken_over(
    run: Run, bundle: Path, extended: Path, films: Path, tmp_path: Path
) -> None:
    manifest = films / "manifest.csv"
    taken = ("--structures-from", extended, "--only", "structures", "--out", "taken")
    assert run("extend", bundle, "--data", manifest, *taken).code == 0
    path = films / entries(films)[0]["path_image"]
    first, second = (Segmenter.load(folder).segment(path) for folder in (extended, tmp_path / "taken"))
    assert first.structures is not None
    assert second.structures is not None
    assert np.array_equal(first.structures.labels, second.structures.labels)
    assert load_bundle(tmp_path / "taken").structures == load_bundle(extended).structures
    other = run("extend", "lung-field-fast", "--data", manifest, *taken[:-1], "other")
    assert (other.code, "has a different encoder" in other.err) == (2, True)
    none = run("extend", extended, "--data", manifest, "--structures-from", bundle, "--out", "none")
    assert (none.code, "has no structures" in none.err) == (2, True)
    assert not (tmp_path / "none").exists()


def test_what_quality_says_is_near_what_masks_are_worth(extended: Path, films: Path) -> None:
    segmenter = Segmenter.load(extended)
    told, true = [], []
    for row in entries(films):
        film = read_film(films / row["path_image"])
        result = segmenter.segment(film)
        told.append(result.quality)
        true.append(dice(result.mask, read_mask(films / row["path_mask"], film.shape)))
    assert np.mean(told) == pytest.approx(np.mean(true), abs=0.05)


def test_measures_of_a_folder(run: Run, extended: Path, films: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "some"
    chosen.mkdir()
    for row in entries(films)[:3]:
        shutil.copy(films / row["path_image"], chosen)
    ended = run("segment", "some", "--model", extended, "--measures", "-o", "out", "--json")
    assert ended.code == 0
    results = json.loads(ended.out)["results"]
    with (tmp_path / "out/measures.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["path"] for row in table] == [entry["path"] for entry in results]
    for entry, row in zip(results, table, strict=True):
        labels = np.asarray(Image.open(tmp_path / entry["labels"]))
        assert set(np.unique(labels)) <= {0, 1, 2, 3}
        heart = entry["measures"]["heart_area_px"]
        assert heart == np.count_nonzero(labels == 3) == int(row["heart_area_px"])
        ratio = entry["measures"]["cardiothoracic_ratio"]
        assert row["cardiothoracic_ratio"] == ("" if ratio is None else str(ratio))
    again = run("segment", "some", "--model", extended, "--measures", "-o", "many", "--workers", "1")
    assert again.code == 0
    assert (tmp_path / "many/measures.csv").read_text() == (tmp_path / "out/measures.csv").read_text()
    for _ in range(2):  # its own label pictures are neither films nor another's
        inside = run("segment", "some", "--model", extended, "--measures", "-o", "some", "--json")
        assert len(json.loads(inside.out)["results"]) == 3


def test_no_measures_of_a_model_without_structures(run: Run, bundle: Path, films: Path) -> None:
    ended = run("segment", films / entries(films)[0]["path_image"], "--model", bundle, "--measures")
    assert ended.code == 2
    assert "was not trained to tell right lung, left lung and heart apart" in ended.err


def blank(path: Path) -> str:
    Image.new("L", (96, 96), 90).save(path)
    return path.name


@pytest.mark.parametrize(("options", "kept"), [((), False), (("--keep",), True)])
def test_strict_refuses_by_name(
    run: Run, extended: Path, films: Path, tmp_path: Path, options: tuple[str, ...], kept: bool
) -> None:
    good = films / entries(films)[0]["path_image"]
    shutil.copy(good, tmp_path / "good.png")
    call: list[Any] = ["segment", "good.png", blank(tmp_path / "blank.png"), "--model", extended, "-o", "out"]
    ended = run(*call, "--strict", "--min-quality", "0.1", "--json", *options)
    assert ended.code == 1
    good_one, refused = json.loads(ended.out)["results"]
    assert good_one["error"] is None
    assert refused["error"].startswith(("Refused (blank-film): ", "Refused (empty-mask): "))
    assert refused["warnings"]
    assert (tmp_path / "out/blank_mask.png").exists() == kept
    assert (refused["mask"] is not None) == kept


def test_strict_refuses_low_quality(run: Run, extended: Path, films: Path) -> None:
    film = films / entries(films)[0]["path_image"]
    for options in ((), ("--resume", "--out", "batch")):
        ended = run("segment", film, "--model", extended, "--strict", "--min-quality", "1", *options)
        assert ended.code == 1
        assert "Refused (low-quality): the expected Dice is " in ended.err


def test_keep_without_strict_is_refused(run: Run, films: Path) -> None:
    ended = run("segment", films / entries(films)[0]["path_image"], "--keep")
    assert ended.code == 2
    assert "belong to --strict" in ended.err


def test_too_few_films_are_refused(run: Run, bundle: Path, films: Path, tmp_path: Path) -> None:
    rows = rows_of(films)
    write_rows(films / "few.csv", rows[:4] + [row for row in rows if row["split"] == "val"])
    ended = run("extend", bundle, "--data", films / "few.csv", "--out", "new")
    assert ended.code == 2
    assert "Only 4 training films have a label file" in ended.err
    assert not (tmp_path / "new").exists()


def test_a_source_without_films_is_refused_by_name(
    run: Run, bundle: Path, films: Path, tmp_path: Path
) -> None:
    ended = run("extend", bundle, "--data", films / "manifest.csv", "--out", "new", "--sides-from", "othr")
    assert ended.code == 2
    assert "no film of the source 'othr'" in ended.err
    assert "one of" in ended.err
    assert "other" in ended.err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--out", "full"), "not a bundle's ('a.txt')"),
        (("--out", "new", "--source", "other"), "0 validation films"),
        (("--out", "new", "--source", "other", "--only", "structures"), "no validation film"),
    ],
)
def test_what_cannot_end_is_refused_before_anything_is_trained(
    run: Run, bundle: Path, films: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], says: str
) -> None:
    def trained(*_: object) -> None:
        pytest.fail("a head was trained first, which takes minutes")

    monkeypatch.setattr("adaloraqat.training.structure_head.train_structures", trained)
    Path("full").mkdir()
    Path("full/a.txt").touch()
    rows = [row | {"split": "train"} if row["source"] == "other" else row for row in entries(films)]
    write_rows(films / "without.csv", rows)
    ended = run("extend", bundle, "--data", films / "without.csv", *options)
    assert ended.code == 2
    assert says in ended.err


def test_a_model_that_finds_nothing_is_not_calibrated(films: Path) -> None:
    class Blind:
        def segment(self, film: Any) -> Any:
            return SimpleNamespace(mask=np.zeros(film.shape, bool), embedding_mean=None)

    validation = [entry for entry in read_manifest(films / "manifest.csv") if entry.split == "val"]
    with pytest.raises(ManifestError, match="finds nothing on any validation film"):
        calibrate_quality(cast(Segmenter, Blind()), validation, corrupted=0)
