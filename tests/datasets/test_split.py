import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    with pytest.raises(ManifestError, match="add up to 1"):
        assign_splits(films(3), fractions=fractions)


def test_a_divided_patient_is_refused():
    first, second = films(2, films_a_patient=2)
    with pytest.raises(ManifestError, match=r"'s0' \(train\) and 's1' \(test\)"):
        assign_splits([replace(first, split="train"), replace(second, split="test")])


def test_copies_go_together_across_patients_and_sources():
    entries = films(60, "a") + films(40, "b")
    pairs = [("a1", "a2"), ("a2", "b7"), ("b30", "a50"), ("a9", "not here")]
    split = by_id(assign_splits(entries, duplicates=pairs, seed=3))
    assert split["a1"] == split["a2"] == split["b7"]
    assert split["b30"] == split["a50"]


@given(st.randoms(use_true_random=False), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_neither_rows_nor_pairs_in_another_order_change_the_split(random, seed):
    entries = films(30, "a", 2) + films(20, "b")
    pairs = [("a1", "a9"), ("a9", "b3"), ("b3", "b4"), ("a20", "b19")]
    expected = by_id(assign_splits(entries, seed=seed, duplicates=pairs, external=()))
    mixed_pairs = [pair if random.random() < 0.5 else pair[::-1] for pair in random.sample(pairs, len(pairs))]
    mixed = assign_splits(random.sample(entries, len(entries)), seed=seed, duplicates=mixed_pairs)
    assert by_id(mixed) == expected


def test_without_copies_the_division_is_that_of_before():
    # 70:15:15 at seed 0 as written down before copies were known: published scores rest on it
    written = "test train test train train train train val train val train train"
    entries = films(12)
    assert [e.split for e in assign_splits(entries, (0.7, 0.15, 0.15))] == written.split()
    assert assign_splits(entries, (0.7, 0.15, 0.15), duplicates=[("x", "y")]) == assign_splits(
        entries, (0.7, 0.15, 0.15)
    )


def test_external_sources_stay_whole_and_pull_their_copies():
    entries = films(40, "a") + films(15, "hospital")
    split = assign_splits(entries, external=["hospital"], duplicates=[("hospital3", "a8")])
    assert {e.split for e in split if e.source == "hospital"} == {"test"}
    assert by_id(split)["a8"] == "test"
    assert Counter(e.split for e in split if e.source == "a") == {"train": 31, "val": 4, "test": 5}


def test_an_external_source_that_is_not_there_or_was_trained_on_is_refused():
    with pytest.raises(ManifestError, match="No film comes from the external source 'x'"):
        assign_splits(films(3), external=["x"])
    trained = [replace(films(1)[0], split="train"), *films(3, "t")]
    with pytest.raises(ManifestError, match="its film 's0' is in split train"):
        assign_splits(trained, external=["s"])


def test_copies_in_two_splits_are_refused_by_name():
    first, second, third = films(3)
    entries = [replace(first, split="train"), replace(second, split="test"), third]
    with pytest.raises(ManifestError, match=r"'s0' \(train\) and 's1' \(test\) are copies"):
        assign_splits(entries, duplicates=[("s0", "s1")])
    # through a third film that has no split
    with pytest.raises(ManifestError, match="copies of each other, directly or indirectly"):
        assign_splits(entries, duplicates=[("s0", "s2"), ("s2", "s1")])


def test_a_film_without_split_follows_its_copy():
    first, second = films(2)
    split = assign_splits([replace(first, split="val"), second], duplicates=[("s1", "s0")])
    assert [e.split for e in split] == ["val", "val"]


def test_a_patient_whom_two_sources_share_by_a_collection_goes_to_one_split():
    entries = [
        replace(entry, patient_id=f"bimcv-S{i % 20}") for i, entry in enumerate(films(20) + films(20, "t"))
    ]
    split = assign_splits(entries, seed=2)
    assert [e.split for e in split[:20]] == [e.split for e in split[20:]]
    divided = [replace(entries[0], split="train"), replace(entries[20], split="test")]
    with pytest.raises(ManifestError, match="One patient is in more than one split"):
        assign_splits(divided)
