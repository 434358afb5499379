import json

import numpy as np
import pytest

from adaloraqat.measure.statistics import FEWEST_PATIENTS, compare, correct, holm


def scores(change, films=60, spread=0.004, seed=0):
    random = np.random.default_rng(seed)
    reference = random.normal(0.95, 0.02, films)
    return reference + random.normal(change, spread, films), reference, [str(i // 2) for i in range(films)]


def test_equal_models():
    c = compare(*scores(0.0), names=("INT8", "FP32"), measure="Dice", large_loss=0.1)
    assert (c.n, c.patients) == (60, 30)
    assert c.noninferior
    assert c.equivalent
    assert c.interval[0] < 0 < c.interval[1]
    assert "Dice of INT8 minus FP32 on the same 60 films of 30 patients" in c.sentence
    assert "does not prove that there is none" in c.sentence
    assert "equivalent within the margin of 0.005" in c.sentence
    assert (
        "excludes, at 95 %, only that it does so in more than 9.5 % of patients" in c.sentence
    )  # 1 - 0.05^(1/30)


def test_a_worse_and_a_better_model():
    worse, better = compare(*scores(-0.02)), compare(*scores(0.02))
    assert not worse.noninferior
    assert worse.effect_size < -0.9
    assert worse.wilcoxon_p < 0.001
    assert "in favour of the second model" in worse.sentence
    assert "the first model is inferior" in worse.sentence
    assert better.noninferior
    assert not better.equivalent
    assert "in favour of the first model" in better.sentence
    assert "not inferior" in better.sentence


def test_a_doubtful_model_is_neither_shown_to_differ_nor_shown_not_to():
    c = compare(*scores(-0.003, films=20, spread=0.02))
    assert not c.noninferior
    assert "A difference is not shown" in c.sentence
    assert "does not prove that it is worse by more" in c.sentence


def test_less_is_better():
    a, b, patients = scores(-0.02)
    c = compare(a, b, patients, margin=None, higher_is_better=False)
    assert c.mean_difference < 0 < c.effect_size
    assert "in favour of the first model" in c.sentence
    assert c.noninferior is None
    assert "margin" not in c.sentence


def test_holm_over_a_family_is_that_of_all_its_members_together():
    family = [compare(*scores(change, seed=seed)) for seed, change in enumerate((-0.001, 0.0, 0.003))]
    few = compare([0.9], [0.8], ["a"])  # has no p, and takes no part
    corrected = correct([*family[:2], few, family[2]])
    together = holm([c.wilcoxon_p for c in family])
    assert [c.holm_p for c in corrected] == [*together[:2], None, together[2]]
    assert corrected[3].holm_p == pytest.approx(3 * family[2].wilcoxon_p)  # the smallest, of three
    for before, after in zip(family, [*corrected[:2], corrected[3]], strict=True):
        assert "Holm" in after.sentence
        assert "Holm" not in before.sentence


def test_many_films_of_few_patients_do_not_pass_for_a_difference():
    """Equal models, ten patients of eight films alike: at 0.05 at most 5 % of trials show a difference."""
    random, found = np.random.default_rng(5), []
    patients = [str(i // 8) for i in range(80)]
    for _ in range(300):
        difference = np.repeat(random.normal(0, 0.01, 10), 8) + random.normal(0, 0.004, 80)
        found.append(compare(0.9 + difference, [0.9] * 80, patients, margin=None).wilcoxon_p < 0.05)
    assert np.mean(found) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize("patients", [1, 2, 3, 7])
@pytest.mark.parametrize("change", [0.0, -0.1])
def test_few_patients_get_a_sentence_and_no_verdict(patients, change):
    a = [0.9 + change + 0.001 * i for i in range(patients)]
    c = correct([compare(a, [0.9] * patients, [str(i) for i in range(patients)], large_loss=0.1)])[0]
    found = c.to_dict()
    verdicts = ("interval", "wilcoxon_p", "holm_p", "effect_size", "noninferior", "noninferiority_p")
    assert all(found[key] is None for key in (*verdicts, "equivalent", "equivalence_p"))
    json.dumps(found, allow_nan=False)
    assert f"at least {FEWEST_PATIENTS} are needed" in c.sentence
    for claim in ("inferior", "shown", "equivalent", "p =", "p <", "excludes", "interval +"):
        assert claim not in c.sentence


def test_films_of_one_patient_are_one_patient():
    c = compare([0.9, 0.8, 0.7] * 5, [0.8, 0.8, 0.8] * 5, ["a"] * 15)
    assert (c.wilcoxon_p, c.noninferiority_p, c.to_dict()["interval"]) == (None, None, None)
    assert correct([c])[0].holm_p is None


def test_identical_scores_of_many_patients():
    c = compare([0.9] * 20, [0.9] * 20, [str(i) for i in range(20)], large_loss=0.1)
    assert c.to_dict()["interval"] is None
    assert c.equivalent
    assert "All patients have the same difference" in c.sentence
    assert "more than 13.9 % of patients" in c.sentence  # 1 - 0.05^(1/20)


def test_failed_films_are_counted_and_leave_the_interval_alone():
    a, b, patients = scores(0.0)
    plain = compare(a[2:], b[2:], patients[2:])
    a = np.concatenate([[0.0, 0.0], a[2:]])  # the two films of one patient failed
    bad = [True, True] + [False] * 58
    c = compare(a, b, patients, failed=(bad, [False] * 60), names=("INT8", "FP32"), large_loss=0.1)
    assert (c.n, c.patients, c.failed) == (58, 29, (2, 0))
    assert (c.mean_difference, c.interval, c.wilcoxon_p) == (
        plain.mean_difference, plain.interval, plain.wilcoxon_p,
    )  # fmt: skip
    assert plain.noninferior
    assert (c.noninferior, c.equivalent) == (False, False)
    assert (c.failures.count, c.failures.patients) == (1, 30)
    assert "INT8 failed on 2 films that FP32 did not: that it is not inferior is not claimed" in c.sentence
    assert (
        "on films of 1 of 30 patients, which excludes, at 95 %, only that it does so in more than 14.9 %"
        in c.sentence
    )
    other = compare(b, a, patients, failed=([False] * 60, bad), names=("FP32", "INT8"))
    assert other.noninferior
    assert not other.equivalent
    assert "INT8 failed on 2 films that FP32 did not" in other.sentence


def test_films_that_lost_much_are_counted_and_stay_in_the_mean():
    a, b, patients = scores(0.0)
    a[0] = b[0] - 0.1
    c = compare(a, b, patients, large_loss=0.1)
    assert (c.failures.count, c.failures.patients, c.n) == (1, 30, 60)
    assert c.mean_difference == pytest.approx(np.mean(a - b))
    assert "was worse by 0.1 or more on films of 1 of 30 patients" in c.sentence


def test_nothing_is_left_to_compare():
    c = compare([0.0] * 9, [0.9] * 9, list("abcdefghi"), failed=([True] * 9, [False] * 9))
    assert c.to_dict()["mean_difference"] is None
    assert "there is no film that neither failed on" in c.sentence
    assert "failed on films of 9 of 9 patients" in c.sentence


def test_scores_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="same films"):
        compare([0.1], [0.1, 0.2], ["a"])
    with pytest.raises(ValueError, match="same films"):
        compare([], [], [])
    with pytest.raises(ValueError, match="same films"):
        compare([0.1], [0.1], ["a"], failed=([True, False], [True, False]))
    with pytest.raises(ValueError, match="NaN"):
        compare([np.nan, 0.1], [0.1, 0.1], ["a", "b"])
