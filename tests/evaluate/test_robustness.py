import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaloraqat.bundle import Segmenter
from adaloraqat.datasets.manifest import Entry, read_manifest
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.errors import FilmError, OutputError
from adaloraqat.evaluate.evaluation import robustness
from adaloraqat.evaluate.films import spread
from adaloraqat.evaluate.score import Settings, jittered
from adaloraqat.evaluate.store import read_scores
from adaloraqat.radiograph import Box
from adaloraqat.report.robustness import write_tables

sys.path.insert(
    0, str(Path(__file__).parents[1] / "bundle")
)  # the handmade bundle; test folders are no packages

FEW = Settings(("rotated_15", "noisy"), jitters=(20,))


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    folder = tmp_path_factory.mktemp("films")
    write_phantoms(folder, 4, seed=1, size=96)
    return read_manifest(folder / "manifest.csv")


def segmenter(folder: Path, **changes: Any) -> Segmenter:
    from tiny_bundle import write_tiny_bundle

    write_tiny_bundle(folder, **changes)
    return Segmenter.load(folder, threads=1)


def numbers(document: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(row["model"], row["condition"], row["prompt"]): row for row in document["rows"]}


def test_a_row_for_every_condition_and_prompt_with_the_drop_to_clean(
    entries: list[Entry], tmp_path: Path
) -> None:
    document = robustness({"a": segmenter(tmp_path / "a")}, entries, tmp_path / "out", settings=FEW)
    write_tables(document, tmp_path / "out")
    rows = numbers(document)
    assert list(rows) == [
        ("a", "clean", "no_box"), ("a", "clean", "true_box"), ("a", "clean", "box_jitter_20"),
        ("a", "rotated_15", "no_box"), ("a", "rotated_15", "true_box"),
        ("a", "noisy", "no_box"), ("a", "noisy", "true_box"),
    ]  # fmt: skip
    assert all(row["films"] == 4 and row["failed"] == 0 for row in rows.values())
    for (_, condition, prompt), row in rows.items():
        before = rows["a", "clean", "no_box" if prompt == "no_box" else "true_box"]
        if row is before:
            assert row["drop"] is None
        else:
            assert row["drop"] == pytest.approx(before["dice_mean"] - row["dice_mean"], abs=1e-12), condition
            assert row["drop_interval"] is None  # four patients are too few
    assert json.loads((tmp_path / "out/robustness.json").read_text()) == document
    table = list(csv.DictReader((tmp_path / "out/robustness.csv").read_text().splitlines()))
    assert [float(row["dice_mean"]) for row in table] == [row["dice_mean"] for row in document["rows"]]
    text = (tmp_path / "out/robustness.md").read_text()
    assert "rotated_15: rotated by 15° to either side" in text
    assert f"{rows['a', 'noisy', 'no_box']['dice_mean']:.4f}" in text
    assert "each side moved by up to 20 px of 1024" in text


def test_a_model_without_boxes_gets_none(entries: list[Entry], tmp_path: Path) -> None:
    prompt = {"second_pass": False, "quality_trained": False, "accepts_box": False}
    models = {"a": segmenter(tmp_path / "a", prompt=prompt)}
    document = robustness(models, entries[:1], tmp_path / "out", settings=FEW)
    write_tables(document, tmp_path / "out")
    assert {row["prompt"] for row in document["rows"]} == {"no_box"}
    assert "box of the truth" not in (tmp_path / "out/robustness.md").read_text()


def test_interrupted_and_continued_equals_uninterrupted(entries: list[Entry], tmp_path: Path) -> None:
    models = {"a": segmenter(tmp_path / "a"), "b": segmenter(tmp_path / "b", threshold=0.1)}
    write_tables(robustness(models, entries, tmp_path / "whole", settings=FEW), tmp_path / "whole")

    def two_films(films, what):
        yield from films[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        robustness({"a": models["a"]}, entries, tmp_path / "out", two_films, settings=FEW)
    scores = tmp_path / "out/films.jsonl"
    known = scores.read_text().splitlines()
    assert len(known) == 2 * 3
    scores.write_text("\n".join(known)[:-40])  # the last line was cut off in writing
    asked: list[str] = []
    segment = models["a"].segment

    def counted(film, box=None):
        asked.append("a")
        return segment(film, box)

    models["a"].segment = counted  # type: ignore[method-assign]
    write_tables(robustness(models, entries, tmp_path / "out", settings=FEW), tmp_path / "out")
    assert len(asked) == 2 * 7 + 2  # two films anew, and of the torn line the two prompts of one condition
    for name in ("robustness.json", "robustness.csv", "robustness.md"):
        assert (tmp_path / "out" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.parametrize("what", ["films", "seed", "model"])
def test_results_of_something_else_are_not_mixed_in(what: str, entries: list[Entry], tmp_path: Path) -> None:
    settings = Settings((), jitters=())
    models = {"a": segmenter(tmp_path / "a")}
    robustness(models, entries[:1], tmp_path / "out", settings=settings)
    films, seed = entries[:1], 0
    if what == "films":
        films = entries[:2]
    elif what == "seed":
        seed = 1
    else:
        models = {"a": segmenter(tmp_path / "other", threshold=0.2)}
    with pytest.raises(OutputError, match="other films, models or settings"):
        robustness(models, films, tmp_path / "out", settings=Settings((), jitters=(), seed=seed))


def test_a_film_that_cannot_be_read_counts_as_the_worst(entries: list[Entry], tmp_path: Path) -> None:
    from dataclasses import replace

    (tmp_path / "empty.png").write_bytes(b"")
    broken = replace(entries[0], id="broken", path_image=tmp_path / "empty.png")
    document = robustness(
        {"a": segmenter(tmp_path / "a")},
        [broken, entries[1]],
        tmp_path / "out",
        settings=Settings(("noisy",)),
    )
    row = numbers(document)["a", "noisy", "no_box"]
    assert (row["films"], row["failed"], row["dice_worst"]) == (2, 1, 0.0)
    for row in document["rows"]:  # nor does it vanish from the means with a box
        assert (row["films"], row["failed"]) == (2, 1), row["prompt"]
    assert "empty.png" in (tmp_path / "out/films.jsonl").read_text()
    assert str(tmp_path) not in (tmp_path / "out/films.jsonl").read_text()


def test_a_missing_film_has_the_worst_distance_of_its_source_in_its_unit(
    entries: list[Entry], tmp_path: Path
) -> None:
    from dataclasses import replace

    known = [replace(entry, spacing_mm=(2.0, 2.0)) for entry in entries]
    gone = replace(known[0], path_image=tmp_path / "gone.png", spacing_mm=None)
    models = {"a": segmenter(tmp_path / "a")}
    document = robustness(models, [gone, *known[1:]], tmp_path / "out", settings=Settings(()))
    row = numbers(document)["a", "clean", "no_box"]
    assert (row["films"], row["failed"], row["unit"]) == (4, 1, "mm")
    assert row["hd95_worst"] == pytest.approx(2 * np.hypot(96, 96))


def test_patients_are_those_of_the_manifest_though_it_changed_since(
    entries: list[Entry], tmp_path: Path
) -> None:
    from dataclasses import replace

    models, few = {"a": segmenter(tmp_path / "a")}, Settings((), jitters=())
    before = robustness(models, entries, tmp_path / "out", settings=few)
    known = (tmp_path / "out/films.jsonl").read_bytes()
    joined = [replace(entry, patient_id="one") for entry in entries]
    after = robustness(models, joined, tmp_path / "out", settings=few)
    patients = len({entry.patient_id for entry in entries})
    assert patients > 1
    assert {row["patients"] for row in before["rows"]} == {patients}
    assert {row["patients"] for row in after["rows"]} == {1}
    assert (tmp_path / "out/films.jsonl").read_bytes() == known


def test_jitter_is_a_share_of_the_longer_side_and_stays_on_the_film() -> None:
    box, shape = Box(100, 200, 400, 600), (1024, 512)
    moves = np.array([np.subtract(jittered(box, shape, 20, seed), box) for seed in range(400)])
    assert np.abs(moves).max() <= 20
    assert np.abs(moves).max() > 19
    assert np.abs(moves.mean(axis=0)).max() < 2.5
    larger = jittered(Box(*(2 * side for side in box)), (2048, 1024), 20, 3)
    assert larger == pytest.approx([2 * side for side in jittered(box, shape, 20, 3)])
    for seed in range(50):
        near = jittered(Box(0, 0, 3, 1024), (1024, 512), 20, seed)
        assert near == near.checked((1024, 512))


def test_films_are_spread_over_sources(entries: list[Entry]) -> None:
    assert spread(entries, 99) == sorted(entries, key=lambda entry: (entry.source, entry.id))
    assert spread(entries, 2) == [spread(entries, 9)[0], spread(entries, 9)[-1]]


@pytest.mark.parametrize("file", ["setup.json", "films.jsonl"])
def test_a_damaged_folder_is_refused_with_a_sentence(file: str, entries: list[Entry], tmp_path: Path) -> None:
    models, settings = {"a": segmenter(tmp_path / "a")}, Settings((), jitters=())
    robustness(models, entries[:1], tmp_path / "out", settings=settings)
    (tmp_path / "out" / file).write_text("[]\n")
    with pytest.raises(OutputError, match=f"{file} in out is damaged"):
        robustness(models, entries[:1], tmp_path / "out", settings=settings)


@pytest.mark.parametrize("error", [MemoryError(), FilmError("This film is odd: repair it.")])
def test_a_film_that_cannot_be_segmented_counts_as_the_worst(
    error: Exception, entries: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = segmenter(tmp_path / "a")
    segment, seen = model.segment, []

    def once(film, box=None):
        seen.append(film)
        if len(seen) == 1:
            raise error
        return segment(film, box)

    monkeypatch.setattr(model, "segment", once)
    document = robustness({"a": model}, entries, tmp_path / "out", settings=Settings((), jitters=()))
    no_box, true_box = document["rows"]
    assert (no_box["films"], no_box["failed"], no_box["dice_worst"]) == (4, 1, 0.0)
    assert (true_box["films"], true_box["failed"]) == (4, 0)
    row, column = entries[0].spacing_mm or (1.0, 1.0)
    assert no_box["hd95_worst"] == pytest.approx(np.hypot(96 * row, 96 * column))
    (failed,) = (row for rows in read_scores(tmp_path / "out").values() for row in rows if row.failed)
    assert failed.error == (str(error) or "There is not enough memory to segment this film.")
