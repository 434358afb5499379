"""What few patients and lost films do to the numbers and comparisons of an evaluation; rows by hand."""

import json

import numpy as np
import pytest

from adaloraqat.evaluate.comparisons import comparisons
from adaloraqat.evaluate.evaluation import drop
from adaloraqat.evaluate.rows import NO_BOX, FilmRow
from adaloraqat.evaluate.summary import numbers
from adaloraqat.measure.film_scores import score_film, worst_scores
from adaloraqat.measure.statistics import failure_rate, holm
from adaloraqat.report.table import cells

SHAPE = (64, 64)


def row(model, film, shift, failed=False, empty=False, patient=None):
    """A square lung, found `shift` pixels to the side; or lost."""
    truth = np.zeros(SHAPE, bool)
    truth[10:50, 10:50] = True
    found = np.zeros(SHAPE, bool) if empty else np.roll(truth, shift, axis=1)
    scores = worst_scores(SHAPE, None) if failed else score_film(found, truth)
    error = "It broke." if failed else None
    who = patient or f"p{film}"
    return FilmRow(f"f{film}", "a", who, model, NO_BOX, scores.to_dict(), empty=empty, error=error)


def rows(model, shifts, **lost):
    return [
        row(model, film, shift, **{k: film in v for k, v in lost.items()})
        for film, shift in enumerate(shifts)
    ]


SHIFTS = [film % 5 for film in range(20)]


def test_an_interval_needs_eight_patients():
    enough, few = numbers(rows("m", SHIFTS[:8]), (2,)), numbers(rows("m", SHIFTS[:7]), (2,))
    low, high = enough["dice_interval"]
    assert low < enough["dice_mean"] < high <= 1
    assert enough["dice_kept_interval"] == enough["dice_interval"]
    assert enough["hd95_interval"][0] >= 0
    assert few["dice_interval"] is None
    assert few["dice_kept_interval"] is None


@pytest.mark.parametrize("how", ["failed", "empty"])
def test_with_lost_films_the_interval_is_of_the_others_and_the_rate_has_its_own(how):
    without = numbers(rows("m", SHIFTS)[:18], (2,))
    found = numbers(rows("m", SHIFTS, **{how: (18, 19)}), (2,))
    assert (found["lost"], found[how], found["lost_patients"]) == (2, 2, 2)
    assert found["dice_mean"] == pytest.approx(without["dice_mean"] * 18 / 20)
    assert found["dice_interval"] is None
    assert found["dice_kept_mean"] == pytest.approx(without["dice_mean"])
    assert found["dice_kept_interval"] == pytest.approx(without["dice_interval"])
    rate = failure_rate([film > 17 for film in range(20)], [str(film) for film in range(20)])
    assert found["lost_interval"] == pytest.approx(rate.interval)
    json.dumps(found, allow_nan=False)


def test_a_table_shows_the_kept_mean_beside_its_interval():
    found = numbers(rows("m", SHIFTS, failed=(18, 19)), (2,))
    names = ("mean", "sd", "median", "worst", "interval", "kept_mean", "kept_interval")
    cell = {name: found[f"dice_{name}"] for name in names}
    line = {"name": "m", "films": 20, "failed": 2, "cells": {"dice": cell}, "test": None}
    document = {"measures": ["dice"], "columns": [], "reference": "other"}
    _, (shown,) = cells(document, {"unit": "px", "rows": [line]})
    low, high = found["dice_kept_interval"]
    assert shown[3] == (
        f"{found['dice_mean']:.4f} ± {found['dice_sd']:.4f}; kept {found['dice_kept_mean']:.4f} "
        f"[{low:.4f}, {high:.4f}]"
    )


def test_holm_spans_all_models_of_a_measure():
    """Three models against one reference: each p is corrected among three, not alone."""
    found = comparisons(
        rows("ref", SHIFTS)
        + rows("one", [shift + film % 2 for film, shift in enumerate(SHIFTS)])
        + rows("two", [shift + (film % 7 == 0) for film, shift in enumerate(SHIFTS)])
        + rows("three", [max(0, shift - (film % 3 == 0)) for film, shift in enumerate(SHIFTS)]),
        ["ref", "one", "two", "three"],
        (2,),
    )
    dice = [row for row in found["rows"] if row["measure"] == "dice"]
    assert [row["model"] for row in dice] == ["one", "two", "three"]
    plain = [row["wilcoxon_p"] for row in dice]
    assert [row["holm_p"] for row in dice] == holm(plain)
    assert min(row["holm_p"] for row in dice) == pytest.approx(3 * min(plain))


def test_films_that_one_lost_are_counted_and_films_that_both_lost_are_left_out():
    reference = rows("ref", SHIFTS, failed=(0,))
    model = rows("one", SHIFTS, failed=(0,), empty=(1, 2))
    dice, *_ = comparisons(reference + model, ["ref", "one"], (2,))["rows"]
    assert (dice["n"], dice["left_out"], dice["failed"], dice["mean_difference"]) == (17, 1, (2, 0), 0.0)
    assert dice["failures"]["count"] == 2
    assert dice["failures"]["patients"] == 19
    assert dice["noninferior"] is False
    assert "one failed on 2 films that ref did not" in dice["sentence"]


def test_a_large_loss_of_dice_is_counted():
    model = [*SHIFTS[:19], SHIFTS[19] + 12]
    dice, *_ = comparisons(rows("ref", SHIFTS) + rows("one", model), ["ref", "one"], (2,))["rows"]
    assert (dice["n"], dice["failures"]["count"]) == (20, 1)
    assert "was worse by 0.1 or more on films of 1 of 20 patients" in dice["sentence"]


def test_a_drop_with_lost_films_has_no_interval():
    clean, noisy = rows("m", SHIFTS), rows("m", [shift + film % 3 for film, shift in enumerate(SHIFTS)])
    lost = rows("m", [shift + film % 3 for film, shift in enumerate(SHIFTS)], failed=(3,))
    whole, broken = drop(noisy, clean, seed=0), drop(lost, clean, seed=0)
    assert whole["drop_interval"][0] < whole["drop"] < whole["drop_interval"][1]
    assert broken["drop"] > whole["drop"]
    assert broken["drop_interval"] is None
