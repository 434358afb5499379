"""No clause of a sentence contradicts the numbers beside it: random comparisons, parsed as they are read."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaloraqat.measure.statistics import FEWEST_PATIENTS, compare, correct

A, B, MARGIN = "Alpha", "Beta", 0.005
NUMBER = r"([+−]\d+\.\d+)"


@st.composite
def comparisons(draw):
    """Two models on up to 40 patients: shifted, skewed, tied, with lost films, in either direction."""
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    patients = draw(st.integers(1, 40))
    codes = np.repeat(np.arange(patients), random.integers(1, draw(st.integers(2, 4)), patients))
    shape = draw(st.sampled_from(["normal", "skewed", "tied", "outlier", "constant"]))
    scale = draw(st.sampled_from([0.0005, 0.003, 0.02]))
    differences = {
        "normal": lambda: random.normal(size=len(codes)),
        "skewed": lambda: draw(st.sampled_from([-1, 1])) * (random.exponential(size=len(codes)) - 1),
        "tied": lambda: random.choice([-1.0, 0.0, 1.0], len(codes)),
        "outlier": lambda: np.where(random.random(len(codes)) < 0.1, -12.0, 1.0),
        "constant": lambda: np.ones(len(codes)),
    }[shape]() * scale
    differences = differences + draw(st.sampled_from([0.0, 0.0, 0.001, -0.001, 0.005, -0.005, 0.01, -0.02]))
    failed = tuple(random.random(len(codes)) < draw(st.sampled_from([0.0, 0.0, 0.1])) for _ in "ab")
    both = failed[0] & failed[1]
    failed = (failed[0] & ~both, failed[1] & ~both)
    higher = draw(st.booleans())
    found = compare(
        0.9 + differences, [0.9] * len(codes), list(codes.astype(str)), names=(A, B), failed=failed,
        margin=draw(st.sampled_from([MARGIN, MARGIN, None])), higher_is_better=higher,
        large_loss=draw(st.sampled_from([0.1, None])), seed=draw(st.integers(0, 9)),
    )  # fmt: skip
    return correct([found] * draw(st.integers(1, 3)))[0] if draw(st.booleans()) else found


def number(text):
    return float(text.replace("−", "-"))


def better(value, c):
    """The model that a shown difference speaks for."""
    return None if value == 0 else A if (value > 0) == c.higher_is_better else B


@settings(max_examples=120, deadline=None)
@given(comparisons())
def test_every_clause_agrees_with_the_numbers_shown(c):
    text = c.sentence
    shown = re.search(rf"patients?: {NUMBER}(?: \[95 % interval {NUMBER} to {NUMBER}\])?\.", text)
    assert (shown is None) == (c.n == 0)
    if shown is None:
        assert "p =" not in text
        return
    mean = number(shown[1])
    assert mean == pytest.approx(c.mean_difference, abs=6e-5)
    low, high = (number(shown[2]), number(shown[3])) if shown[2] else (None, None)
    if low is not None:
        assert low <= mean <= high
        assert (low, high) == pytest.approx(c.interval, abs=6e-5)
    if c.patients < FEWEST_PATIENTS:
        assert "too few for an interval or a verdict" in text
        assert low is None
        assert not re.search(r"p [<=]|inferior|equivalent|A difference|The ranks|excludes", text)
        return
    check_difference(c, text, mean, low, high)
    check_margin(c, text, mean, low, high)
    check_failures(c, text)


def check_difference(c, text, mean, low, high):
    test = re.search(
        rf"signed-rank, p ([<=]) (\d\.\d+)( after Holm's correction)?, .*? effect {NUMBER}\)", text
    )
    p, effect = float(test[2]), number(test[4])
    assert bool(test[3]) == (c.holm_p is not None)
    significant = test[1] == "<" or p < 0.05
    ranks = None if effect == 0 else A if effect > 0 else B
    settled = None if low is None or low <= 0 <= high else better(mean, c)
    claim = re.search(r"A difference is shown \(.*?\), in favour of (\w+);", text)
    assert bool(claim) == (significant and settled is not None and settled == ranks)
    if claim:
        assert claim[1] == ranks == settled == better(mean, c)
    only_ranks = re.search(
        r"The ranks show a difference \(.*?\), in favour of (\w+); that the mean differs is not shown", text
    )
    assert bool(only_ranks) == (significant and settled is None)
    if only_ranks:
        assert only_ranks[1] == ranks
        assert ("its interval holds 0" in text) == (low is not None)
        named = re.search(r"the mean itself favours (\w+)", text)
        assert (named[1] if named else None) == (better(mean, c) if better(mean, c) != ranks else None)
    apart = re.search(
        r"Ranks and mean disagree: .*? in favour of (\w+), "
        r"but the whole interval of the mean lies in favour of (\w+)\.",
        text,
    )
    assert bool(apart) == (significant and settled is not None and settled != ranks)
    if apart:
        assert (apart[1], apart[2]) == (ranks, settled)
    only_mean = re.search(r"The ranks do not show a difference .*? lies in favour of (\w+):", text)
    assert bool(only_mean) == (not significant and settled is not None)
    if only_mean:
        assert only_mean[1] == settled
    assert ("A difference is not shown" in text) == (not significant and settled is None)
    opposite = re.search(r"The mean favours (\w+), the ranks (\w+)\.", text)
    if opposite:
        assert (opposite[1], opposite[2]) == (better(mean, c), ranks)


def check_margin(c, text, mean, low, high):
    equivalent, noninferior = "The two are equivalent" in text, f"{A} is not inferior to {B}" in text
    inferior, unsure = f"{A} is inferior" in text, "does not prove that it is worse by more" in text
    vetoed = "not inferior is not claimed" in text
    assert equivalent + noninferior + inferior + unsure + vetoed == (c.margin is not None)
    if c.margin is None:
        return
    assert vetoed == (c.failed[0] > 0)
    assert c.equivalent == equivalent
    assert c.noninferior == (
        equivalent or noninferior or (bool(c.failed[1]) and not vetoed and c.noninferior)
    )
    if low is None or vetoed:
        return
    ends = (low, high) if c.higher_is_better else (-high, -low)
    if equivalent:
        assert -MARGIN < low <= high < MARGIN
    if noninferior:
        assert ends[0] > -MARGIN
        assert ends[1] > MARGIN or c.failed[1]
    if inferior:
        assert ends[1] < -MARGIN
    if unsure:
        assert ends[0] <= -MARGIN <= ends[1]
    for clause, value in re.findall(
        r"(fixed beforehand|is not shown) \((?:two one-sided tests, )?p = (\d\.\d+)\)", text
    ):
        sure = clause == "fixed beforehand" and not unsure
        assert (float(value) < 0.025) == sure, (clause, value)


def check_failures(c, text):
    counted = re.search(
        rf"{A} failed(?: or was worse by 0\.1 or more)? on films of (\d+) of (\d+) patients?", text
    )
    assert bool(counted) == (c.large_loss is not None or any(c.failed))
    if counted:
        count, of = int(counted[1]), int(counted[2])
        assert (count, of) == (c.failures.count, c.failures.patients)
        bound = re.search(r"in more than (\d+\.\d) % of patients", text)
        if bound:
            assert 100 * count / of < float(bound[1]) <= 100
            if count == 0:
                assert float(bound[1]) == pytest.approx(100 * (1 - 0.05 ** (1 / of)), abs=0.051)
    named = re.search(rf"{B} failed on (\d+) films? that {A} did not", text)
    assert (int(named[1]) if named else 0) == c.failed[1]


def test_ranks_and_mean_that_disagree_are_both_told():
    """Twelve of fourteen patients gain a little, two lose much: the ranks favour Alpha, the mean does not."""
    differences = [0.002 + 0.0001 * i for i in range(18)] + [-0.06, -0.05]
    c = compare([0.9 + d for d in differences], [0.9] * 20, [str(i) for i in range(20)], names=(A, B))
    assert c.mean_difference < 0 < c.effect_size
    assert "The ranks show a difference" in c.sentence
    assert f"in favour of {A}; that the mean differs is not shown" in c.sentence
    assert f"the mean itself favours {B}" in c.sentence


def test_equal_films_beside_a_failure_of_the_second_are_not_called_equivalent_nor_unproved():
    differences = [0.0005 * (-1) ** i for i in range(20)]
    failed = [False] * 20
    c = compare(
        [0.9 + d for d in differences], [0.9] * 20, [str(i) for i in range(20)], names=(A, B),
        failed=(failed, [True, *failed[1:]]), margin=MARGIN,
    )  # fmt: skip
    assert (c.noninferior, c.equivalent) == (True, False)
    assert c.equivalence_p < 0.025
    assert f"equivalent is not claimed, because {B} failed where {A} did not." in c.sentence
    assert "is not shown (p" not in c.sentence


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (0.0312, "p = 0.031"),
        (0.0496, "p = 0.0496"),
        (0.04996, "p = 0.04996"),
        (0.050004, "p = 0.050004"),
        (0.0004, "p < 0.001"),
    ],
)
def test_p_has_as_many_decimals_as_its_side_of_5_percent_needs_and_no_more(p, shown):
    c = compare([0.9 + 0.001 * i for i in range(-9, 11)], [0.9] * 20, [str(i) for i in range(20)])
    assert f"(Wilcoxon signed-rank, {shown}, " in replace(c, wilcoxon_p=p).sentence


def test_a_mean_beyond_0_that_no_rank_shows_is_told_so():
    c = compare(
        [0.9 + d for d in [-0.03] * 5 + [0.0] * 30], [0.9] * 35, [str(i) for i in range(35)], names=(A, B)
    )
    family = correct([c, c, c])[0]
    assert ("do not show" in family.sentence) == (family.p >= 0.05 and c.interval[1] < 0)
    assert "A difference is shown" not in family.sentence


def test_no_common_film_is_all_that_is_said():
    c = compare([0.9] * 2, [0.9] * 2, ["a", "b"], names=(A, B), failed=([True, True], [False, False]))
    assert c.n == 0
    assert "there is no film that neither failed on." in c.sentence
    assert "too few" not in c.sentence


def test_ranks_that_favour_the_other_model_than_the_mean_are_said_to_disagree():
    found = compare(0.9 + np.linspace(0.01, 0.02, 20), [0.9] * 20, [str(i) for i in range(20)], names=(A, B))
    assert found.p is not None
    assert found.p < 0.05
    assert found.effect_size is not None
    turned = replace(found, effect_size=-found.effect_size)
    assert "A difference is shown" in found.sentence
    assert "Ranks and mean disagree" in turned.sentence
    assert "A difference is shown" not in turned.sentence


def test_a_negative_number_that_rounds_to_nought_is_given_more_digits():
    found = compare(0.9 + np.linspace(0.01, 0.02, 20), [0.9] * 20, [str(i) for i in range(20)], names=(A, B))
    tiny = replace(found, mean_difference=-0.00004, interval=(-0.01, 0.01))
    assert re.search(r"−0\.00004 ", tiny.sentence)


def test_twelve_digits_are_enough_to_tell_a_number_from_nought_and_no_more():
    found = compare(0.9 + np.linspace(0.01, 0.02, 20), [0.9] * 20, [str(i) for i in range(20)], names=(A, B))
    assert "+0.000000000003 " in replace(found, mean_difference=3e-12, interval=(-0.01, 0.01)).sentence
    noise = replace(found, mean_difference=3e-13, interval=(-0.01, 0.01)).sentence
    assert "+0.0000 " in noise  # what adding floats leaves is no difference
