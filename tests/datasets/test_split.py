import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from adaloraqat.datasets.manifest import Entry
from adaloraqat.datasets.split import assign_splits
from adaloraqat.errors import ManifestError


def films(count: int, source: str = "s", films_a_patient: int = 1) -> list[Entry]:
    return [
        Entry(f"{source}{i}", source, f"{source}-p{i // films_a_patient}", None, Path("i.png"), Path("m.png"))
        for i in range(count)
    ]


def by_id(entries):
    return {entry.id: entry.split for entry in entries}


def test_fractions_are_met_in_each_source():
    split = assign_splits(films(100, "a") + films(40, "b"), seed=5)
    assert Counter((e.source, e.split) for e in split) == {
        ("a", "train"): 80, ("a", "val"): 10, ("a", "test"): 10,
        ("b", "train"): 32, ("b", "val"): 4, ("b", "test"): 4,
    }  # fmt: skip


def test_a_patient_is_never_divided():
    split = assign_splits(films(90, films_a_patient=3))
    for patient in {e.patient_id for e in split}:
        assert len({e.split for e in split if e.patient_id == patient}) == 1


def test_independent_of_row_order_but_not_of_the_seed():
    entries = films(50, films_a_patient=2)
    shuffled = random.Random(0).sample(entries, len(entries))
    assert by_id(assign_splits(shuffled, seed=1)) == by_id(assign_splits(entries, seed=1))
    assert by_id(assign_splits(entries, seed=2)) != by_id(assign_splits(entries, seed=1))
    assert [e.id for e in assign_splits(shuffled)] == [e.id for e in shuffled]


def test_the_same_on_every_machine():
    # written down once: a change of the ordering would move patients between splits of existing projects
    written = "val train val test train train test train"
    assert [e.split for e in assign_splits(films(8), fractions=(0.5, 0.25, 0.25), seed=7)] == written.split()


def test_existing_splits_stay_and_pull_the_rest_of_the_patient():
    entries = films(40, films_a_patient=2)
    entries[1] = replace(entries[1], split="test")
    split = assign_splits(entries)
    assert split[0].split == split[1].split == "test"
    assert assign_splits(split, seed=99) == split


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1]), (5, [3, 1, 1])]
)
def test_few_patients_reach_every_split(count, expected):
    tally = Counter(e.split for e in assign_splits(films(count)))
    assert [tally["train"], tally["val"], tally["test"]] == expected


def test_a_zero_fraction_stays_empty():
    assert {e.split for e in assign_splits(films(9), fractions=(0.8, 0.2, 0.0))} == {"train", "val"}


@pytest.mark.parametrize("fractions", [(0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_bad_fractions(fractions):
    with pytest.raises(ManifestError, match="sum to 1"):
        assign_splits(films(3), fractions=fractions)


def test_a_divided_patient_is_refused():
    first, second = films(2, films_a_patient=2)
    with pytest.raises(ManifestError, match=r"'s0' \(train\) and 's1' \(test\)"):
        assign_splits([replace(first, split="train"), replace(second, split="test")])
