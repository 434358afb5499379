"""Evaluation as other code calls it: a small real bundle on small films, and the files that it leaves."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaloraqat.bundle import Segmenter
from adaloraqat.datasets.manifest import Entry, fingerprint
from adaloraqat.errors import AdaloraqatError, FilmError
from adaloraqat.evaluate.comparisons import comparisons
from adaloraqat.evaluate.evaluation import Options, evaluate
from adaloraqat.evaluate.predictions import mask_path
from adaloraqat.evaluate.rows import NO_BOX, TRUE_BOX, of_manifest, read_rows
from adaloraqat.measure.film_scores import score_film
from adaloraqat.radiograph import read_mask

sys.path.insert(0, str(Path(__file__).parents[1] / "bundle"))  # the handmade bundle


class Refuses:
    """A model that fails on the first film it is given, with either prompt."""

    def __init__(self, segmenter, error):
        self.segmenter, self.error, self.seen = segmenter, error, 0
        self.bundle, self.engine = segmenter.bundle, segmenter.engine
        self.accepts_boxes, self.accepts_points = segmenter.accepts_boxes, segmenter.accepts_points

    def segment(self, film, box=None):
        self.seen += 1
        if self.seen <= 2:
            raise self.error
        return self.segmenter.segment(film, box)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    from tiny_bundle import write_tiny_bundle

    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    write_tiny_bundle(folder)
    return Segmenter.load(folder)


@pytest.fixture
def entries(tmp_path):
    """Six films of three patients; the third patient's are of a second source, with known spacing."""
    found = []
    for number in range(6):
        pixels, labels = np.full((64, 80), 220, np.uint8), np.zeros((64, 80), np.uint8)
        labels[12:52, 8 + number : 34], labels[12:52, 46 : 72 - number] = 1, 2
        pixels[12:52, 10:36] = pixels[12:52, 46:72] = 20
        for name, picture in (("film", pixels), ("mask", (labels > 0) * np.uint8(255)), ("labels", labels)):
            Image.fromarray(picture).save(tmp_path / f"{name}{number}.png")
        second = number > 3
        found.append(
            Entry(
                f"f{number}", "b" if second else "a", f"Jane Doe {number // 2}", "test",
                tmp_path / f"film{number}.png", tmp_path / f"mask{number}.png",
                None if second else tmp_path / f"labels{number}.png", (2.0, 2.0) if second else None,
            )
        )  # fmt: skip
    return found


def test_films_csv_holds_every_measure_of_the_saved_mask_and_no_patients_name(segmenter, entries, tmp_path):
    out = tmp_path / "out"
    evaluate({"m": segmenter}, entries, out)
    text = (out / "films.csv").read_text()
    assert "Jane" not in text
    first = next(csv.DictReader(text.splitlines()))
    assert list(first)[:7] == ["id", "source", "patient_id", "model", "prompt", "dice", "iou"]
    assert list(first)[-4:] == ["quality", "empty", "failed", "error"]
    rows = read_rows(out / "films.csv")
    assert len(rows) == 12
    assert len({row.patient_id for row in rows}) == 3
    for row in rows:
        entry = next(entry for entry in entries if entry.id == row.id)
        saved = read_mask(mask_path(out, "m", row.prompt, row.id))
        assert row.scores["dice"] == score_film(saved, read_mask(entry.path_mask)).to_dict()["dice"]
        assert row.scores["unit"] == ("mm" if row.source == "b" else "px")
        assert (row.scores["right_dice"] is None) is (row.source == "b")


def test_one_patient_of_a_known_collection_is_one_in_two_sources(segmenter, entries, tmp_path):
    """Two compilations took films of one BIMCV patient; a bare number means somebody else in each source."""
    named = [("a", "bimcv-S7"), ("b", "bimcv-S7"), ("a", "7"), ("b", "7")]
    films = [replace(e, source=s, patient_id=p) for e, (s, p) in zip(entries, named, strict=False)]
    summary = evaluate({"m": segmenter}, films, tmp_path / "out")
    assert summary["models"]["m"]["all"][NO_BOX]["patients"] == 3
    first, second, third, fourth = (r for r in read_rows(tmp_path / "out/films.csv") if r.prompt == NO_BOX)
    assert first.patient_id == second.patient_id
    assert third.patient_id != fourth.patient_id
    assert summary["models"]["m"]["b"][NO_BOX]["patients"] == 2


def test_scores_kept_on_disk_get_the_patients_of_todays_manifest(segmenter, entries, tmp_path):
    evaluate({"m": segmenter}, entries, tmp_path / "out")
    kept = read_rows(tmp_path / "out/films.csv")
    joined = of_manifest(kept, [replace(e, patient_id="bimcv-S7") for e in entries])
    assert len({row.patient_id for row in joined}) == 1
    assert [row.scores for row in joined] == [row.scores for row in kept]
    assert of_manifest(kept, entries) == kept


def test_summary_by_hand(segmenter, entries, tmp_path):
    summary = evaluate({"m": segmenter}, entries, tmp_path / "out")
    assert summary == json.loads((tmp_path / "out/evaluation.json").read_text())
    assert summary["fingerprint"] == fingerprint(entries)
    assert "comparisons" not in summary
    rows = [r for r in read_rows(tmp_path / "out/films.csv") if r.source == "a" and r.prompt == NO_BOX]
    numbers = summary["models"]["m"]["a"][NO_BOX]
    dice = [row.scores["dice"] for row in rows]
    assert numbers["dice_mean"] == pytest.approx(np.mean(dice))
    assert numbers["dice_sd"] == pytest.approx(np.std(dice, ddof=1))
    assert numbers["hd95_worst"] == max(row.scores["hd95"] for row in rows)
    assert numbers["dice_interval"] is None  # two patients are too few
    assert (numbers["films"], numbers["patients"], numbers["labelled"], numbers["unit"]) == (4, 2, 4, "px")


def test_pixels_and_millimetres_are_not_averaged(segmenter, entries, tmp_path):
    summary = evaluate({"m": segmenter}, entries, tmp_path / "out")
    everything = summary["models"]["m"]["all"][NO_BOX]
    assert everything["unit"] == "mixed"
    assert everything["hd95_mean"] is everything["nsd_2_mean"] is None
    assert everything["dice_mean"] > 0.5
    assert summary["models"]["m"]["b"][NO_BOX]["unit"] == "mm"


@pytest.mark.parametrize("error", [FilmError("This film is odd: repair it."), MemoryError()])
def test_a_failed_film_scores_the_worst_and_is_counted_apart_in_the_comparison(
    segmenter, entries, tmp_path, error
):
    models = {"good": segmenter, "bad": Refuses(segmenter, error)}
    summary = evaluate(models, entries[:4], tmp_path / "out")
    numbers = summary["models"]["bad"]["a"]
    assert (numbers[NO_BOX]["failed"], numbers[TRUE_BOX]["failed"]) == (1, 1)
    assert (numbers[NO_BOX]["dice_worst"], numbers[NO_BOX]["ssim_worst"]) == (0, -1)
    assert numbers[NO_BOX]["hd95_worst"] == pytest.approx(np.hypot(64, 80))
    (dice,) = [
        row for row in summary["comparisons"]["rows"]
        if row["measure"] == "dice" and row["prompt"] == NO_BOX
    ]  # fmt: skip
    assert (dice["model"], dice["reference"], dice["n"], dice["left_out"]) == ("bad", "good", 3, 0)
    assert (dice["mean_difference"], dice["failed"], dice["failures"]["count"]) == (0.0, (1, 0), 1)
    assert not dice["noninferior"]


def test_a_film_that_nobody_can_read_fails_for_all_and_proves_no_equality(segmenter, entries, tmp_path):
    entries[4].path_image.write_text("no film")
    summary = evaluate({"one": segmenter, "two": segmenter}, entries, tmp_path / "out")
    for prompt in (NO_BOX, TRUE_BOX):
        numbers = summary["models"]["two"]["b"][prompt]
        assert (numbers["films"], numbers["failed"], numbers["unit"]) == (2, 1, "mm")
        assert numbers["hd95_worst"] == pytest.approx(2 * np.hypot(64, 80))
    rows = [
        row for row in summary["comparisons"]["rows"] if row["source"] == "b" and row["measure"] == "dice"
    ]
    assert all((row["n"], row["left_out"]) == (1, 1) for row in rows)


def test_equal_models_differ_nowhere(segmenter, entries, tmp_path):
    summary = evaluate({"one": segmenter, "two": segmenter}, entries, tmp_path / "out")
    rows = summary["comparisons"]["rows"]
    assert {row["measure"] for row in rows} >= {"dice", "iou", "nsd_2", "nsd_5", "hd95", "assd", "ssim"}
    assert {row["mean_difference"] for row in rows} == {0.0}
    assert all(row["holm_p"] in (1.0, None) for row in rows)
    assert not any(row["equivalent"] for row in rows)  # three patients prove nothing
    assert {row["margin"] for row in rows if row["measure"] != "dice"} == {None}


def test_the_reference_can_be_named(segmenter, entries, tmp_path):
    models = {"one": segmenter, "two": segmenter}
    evaluate(models, entries, tmp_path / "out", options=Options(reference="two", tolerances=(1.5,)))
    rows = read_rows(tmp_path / "out/films.csv")
    assert "nsd_1.5" in rows[0].scores
    assert {row["model"] for row in comparisons(rows, list(models), (1.5,), "two")["rows"]} == {"one"}


@pytest.mark.parametrize(
    ("options", "says"), [(Options(reference="three"), "three"), (Options(margin=0.0), "margin")]
)
def test_options_that_do_not_fit_are_refused_before_any_work(segmenter, entries, tmp_path, options, says):
    with pytest.raises(AdaloraqatError, match=says):
        evaluate({"one": segmenter}, entries, tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


def test_a_film_without_lungs_has_no_true_box(segmenter, entries, tmp_path):
    Image.fromarray(np.zeros((64, 80), np.uint8)).save(entries[4].path_mask)
    evaluate({"m": segmenter}, [replace(entries[4])], tmp_path / "out")
    (row,) = read_rows(tmp_path / "out/films.csv")
    assert (row.prompt, row.scores["dice"]) == (NO_BOX, 0.0)


class Counts(Refuses):
    """A model that counts the films it is given, and never fails."""

    def segment(self, film, box=None):
        self.seen += 1
        return self.segmenter.segment(film, box)


def two_films(films, what):
    yield from films[:2]
    raise KeyboardInterrupt


def test_interrupted_and_continued_equals_uninterrupted_and_is_made_anew_when_finished(
    segmenter, entries, tmp_path
):
    evaluate({"one": segmenter, "two": segmenter}, entries, tmp_path / "whole")
    model = Counts(segmenter, None)
    with pytest.raises(KeyboardInterrupt):
        evaluate({"one": model, "two": segmenter}, entries, tmp_path / "out", two_films)
    assert not (tmp_path / "out/films.csv").exists()
    assert model.seen == 2 * 2
    evaluate({"one": model, "two": segmenter}, entries, tmp_path / "out")
    assert model.seen == 6 * 2  # the two films were not done again
    whole, out = (
        {p.relative_to(tmp_path / f): p.read_bytes() for p in (tmp_path / f).rglob("*") if p.is_file()}
        for f in ("whole", "out")
    )
    assert whole == out  # masks, films.csv, evaluation.json, and nothing else
    evaluate({"one": model, "two": segmenter}, entries, tmp_path / "out")
    assert model.seen == 12 * 2


@pytest.mark.parametrize("change", ["tolerances", "films", "damage"])
def test_scores_of_something_else_that_was_interrupted_are_not_used(segmenter, entries, tmp_path, change):
    model = Counts(segmenter, None)
    with pytest.raises(KeyboardInterrupt):
        evaluate({"m": model}, entries, tmp_path / "out", two_films)
    films = entries[:5] if change == "films" else entries
    options = Options((1.5,)) if change == "tolerances" else Options()
    if change == "damage":
        (left,) = (tmp_path / "out").rglob("films.jsonl")
        left.write_text("[]\n")
    with pytest.raises(KeyboardInterrupt):
        evaluate({"m": model}, films, tmp_path / "out", two_films, options)
    assert model.seen == 2 * (2 + 2)
    evaluate({"m": model}, films, tmp_path / "out", options=options)
    assert model.seen == 2 * (2 + len(films))
    assert {f"nsd_{t:g}" for t in options.tolerances} <= set(read_rows(tmp_path / "out/films.csv")[0].scores)
