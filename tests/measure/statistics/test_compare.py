import json

import numpy as np
import pytest

from adaloraqat.measure.statistics import compare, correct


def scores(change, films=60, spread=0.004, seed=0):
    random = np.random.default_rng(seed)
    reference = random.normal(0.95, 0.02, films)
    return reference + random.normal(change, spread, films), reference, [str(i // 2) for i in range(films)]


def test_equal_models():
    c = compare(*scores(0.0), names=("INT8", "FP32"), measure="Dice")
    assert (c.n, c.patients) == (60, 30)
    assert c.noninferior
    assert c.equivalent
    assert c.interval[0] < 0 < c.interval[1]
    assert "Dice of INT8 minus FP32 on the same 60 films of 30 patients" in c.sentence
    assert "does not prove that there is none" in c.sentence
    assert "equivalent within the margin of 0.005" in c.sentence


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
    c = compare(*scores(-0.003, films=10, spread=0.02))
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


def test_holm_over_a_family():
    family = [compare(*scores(change, seed=seed)) for seed, change in enumerate((-0.001, 0.0, 0.003))]
    corrected = correct(family)
    for before, after in zip(family, corrected, strict=True):
        assert before.wilcoxon_p <= after.holm_p <= 1
        assert "Holm" in after.sentence
        assert "Holm" not in before.sentence


@pytest.mark.parametrize("films", [1, 2, 3])
def test_few_films_and_no_difference_make_no_claim(films):
    same = [0.9] * films
    c = compare(same, same, [str(i) for i in range(films)])
    assert not c.noninferior
    assert not c.equivalent
    assert c.mean_difference == 0
    json.dumps(correct([c])[0].to_dict(), allow_nan=False)
    assert ("too few" in c.sentence) is (films == 1)


def test_films_of_one_patient_are_one_patient():
    c = compare([0.9, 0.8, 0.7], [0.8, 0.8, 0.8], ["a"] * 3)
    assert (c.wilcoxon_p, c.noninferiority_p, c.to_dict()["interval"]) == (None, None, None)
    assert correct([c])[0].holm_p is None


def test_scores_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="same films"):
        compare([0.1], [0.1, 0.2], ["a"])
    with pytest.raises(ValueError, match="same films"):
        compare([], [], [])
    with pytest.raises(ValueError, match="NaN"):
        compare([np.nan, 0.1], [0.1, 0.1], ["a", "b"])
