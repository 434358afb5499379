import random
import sys
from itertools import combinations
from pathlib import Path

import numpy as np

from adaloraqat.datasets.audit.audit import audit
from adaloraqat.datasets.audit.film_checks import Task, glance
from adaloraqat.datasets.audit.perceptual_hash import distances, flipped, hashes


def pairs(result):
    return {frozenset((pair.a, pair.b)): pair for pair in result.duplicates}


def test_every_planted_copy_is_found_with_its_kind_and_no_other(entries, plant, changes):
    planted = [
        plant(entry, name, change)
        for entry, (name, (change, _)) in zip(entries, changes.items(), strict=False)
    ]
    result = audit([(Path("films.csv"), [*entries, *planted])])
    found = pairs(result)
    for entry, (name, (_, kind)) in zip(entries, changes.items(), strict=False):
        pair = found.pop(frozenset((entry.id, name)), None)
        assert pair is not None, name
        assert pair.kind == kind, name
        assert 0.7 < pair.similarity <= 1
    assert not found
    assert (result.duplicates[0].kind, result.duplicates[0].similarity) == ("exact", 1.0)


def test_films_without_copies_have_none(entries):
    assert audit([(Path("films.csv"), entries)]).duplicates == ()


def test_copies_are_found_across_manifests_that_share_ids(entries, plant, changes):
    from dataclasses import replace

    other = replace(plant(entries[3], "copy", changes["compressed"][0]), id=entries[5].id)
    result = audit([(Path("a/one.csv"), entries), (Path("b/two.csv"), [other])])
    (pair,) = result.duplicates
    assert (pair.a, pair.b) == (entries[3].id, f"two:{entries[5].id}")
    assert {task.name for task in result.tasks} >= {f"one:{entries[5].id}", entries[4].id}


def test_three_equal_films_are_three_pairs(entries, plant, changes):
    copies = [plant(entries[0], name, changes["copied"][0]) for name in ("x", "y")]
    result = audit([(Path("films.csv"), [entries[0], *copies])])
    assert pairs(result).keys() == {frozenset(two) for two in combinations((entries[0].id, "x", "y"), 2)}


def test_row_order_changes_nothing(entries, plant, changes):
    films = [
        *entries,
        plant(entries[0], "x", changes["cut"][0]),
        plant(entries[1], "y", changes["mirrored"][0]),
    ]
    expected = audit([(Path("films.csv"), films)]).duplicates
    shuffled = random.Random(3).sample(films, len(films))
    assert audit([(Path("films.csv"), shuffled)]).duplicates == expected


def test_two_processes_find_what_one_finds(entries, plant, monkeypatch, changes):
    films = [*entries, plant(entries[0], "x", changes["equalised"][0])]
    alone = audit([(Path("films.csv"), films)])
    monkeypatch.setattr(sys.modules["adaloraqat.datasets.audit.audit"], "WORTH_PROCESSES", 1)
    together = audit([(Path("films.csv"), films)], processes=2)
    assert together.duplicates == alone.duplicates
    assert together.problems == alone.problems
    assert together.document["timing"]["processes"] == 2


def test_a_flipped_hash_is_the_hash_of_the_flipped_film(entries):
    thumbnails = np.stack([glance(Task(e.id, e)).thumbnail for e in entries[:8]])
    whole = hashes(thumbnails)
    for left_right, up_down in ((True, False), (False, True), (True, True)):
        turned = thumbnails[:, :: -1 if up_down else 1, :: -1 if left_right else 1]
        # a coefficient that is nearly zero may fall on either side
        assert distances(flipped(whole, left_right, up_down), hashes(np.ascontiguousarray(turned))).max() <= 4
    assert distances(whole, hashes(255 - thumbnails)).min() >= 252
