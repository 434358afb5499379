"""Balanced modalities: how many films of each a pass takes, and that every film has its turn."""

from collections import Counter

import pytest

from adaloraqat.training.films import draw_indices
from adaloraqat.training.sampling import FilmSampler, quotas

MODALITIES = ["CT"] * 60 + ["X-ray"] * 7 + ["ultrasound"] * 4
COUNTS = {"CT": 60, "X-ray": 7, "ultrasound": 4}


@pytest.mark.parametrize(
    ("balance", "taken"),
    [
        ("all", {"CT": 60, "X-ray": 7, "ultrasound": 4}),
        ("min", {"CT": 4, "X-ray": 4, "ultrasound": 4}),
        ("tenth", {"CT": 6, "X-ray": 4, "ultrasound": 4}),
    ],
)
def test_a_pass_takes_as_many_of_each_as_the_paper_says(balance, taken) -> None:
    assert quotas(COUNTS, balance) == taken
    sampler = FilmSampler(MODALITIES, balance, [0, 1])
    assert sampler.pass_length == sum(taken.values())
    for turn in range(5):
        films = sampler.batch(sampler.pass_length, turn)
        assert len(set(films)) == len(films)
        assert Counter(MODALITIES[film] for film in films) == taken


def test_each_pass_is_drawn_anew_and_every_film_has_its_turn() -> None:
    sampler = FilmSampler(MODALITIES, "min", [3])
    passes = [sampler.batch(12, turn) for turn in range(15)]
    of_ct = [{film for film in films if film < 60} for films in passes]
    assert set.union(*of_ct) == set(range(60))  # 15 passes of 4 go once through 60 films
    assert sum(len(films) for films in of_ct) == 60
    assert passes[0] != FilmSampler(MODALITIES, "min", [4]).batch(12, 0)


def test_any_batch_can_be_computed_alone() -> None:
    sampler = FilmSampler(MODALITIES, "tenth", [7, 0])
    stream = [film for step in range(10) for film in sampler.batch(5, step)]
    again = FilmSampler(MODALITIES, "tenth", [7, 0])
    assert [film for step in range(5) for film in again.batch(10, step)] == stream


def test_all_is_the_stream_of_permutations_without_modalities() -> None:
    sampler = FilmSampler(MODALITIES, "all", [1, 2])
    assert [sampler.batch(8, step) for step in range(20)] == [
        draw_indices(71, 8, step, [1, 2]) for step in range(20)
    ]


def test_shares_are_of_the_films_seen() -> None:
    assert FilmSampler(MODALITIES, "min", [0]).shares(12, range(4)) == pytest.approx(
        {"CT": 1 / 3, "X-ray": 1 / 3, "ultrasound": 1 / 3}
    )
    shares = FilmSampler(MODALITIES, "tenth", [0]).shares(14, range(1))
    assert shares == pytest.approx({"CT": 6 / 14, "X-ray": 4 / 14, "ultrasound": 4 / 14})
