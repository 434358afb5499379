"""A step's data: films in balance and in turn, which box a film gets, and which mask it asks for."""

from collections import Counter

import pytest
import torch

from adaloraqat.training.batches import FilmSampler, box_of, draw_indices, draw_prompts, quotas
from adaloraqat.training.recipe import Prompts

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


# ---- prompts -----------------------------------------------------------------------------------------


SIZE = 40
RIGHT, LEFT = [4.0, 8.0, 14.0, 30.0], [22.0, 10.0, 32.0, 28.0]
BOTH = [4.0, 8.0, 32.0, 30.0]
FILM = [0.0, 0.0, 36.0, 40.0]  # the last four columns are padding


def rectangle(box: list[float]) -> torch.Tensor:
    mask = torch.zeros(SIZE, SIZE)
    x0, y0, x1, y1 = map(int, box)
    mask[y0:y1, x0:x1] = 1
    return mask


def batch(count: int, sides: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    right, left = rectangle(RIGHT), rectangle(LEFT)
    both = right + left
    shown = torch.stack([right, left, both]) if sides else torch.stack([0 * right, 0 * left, both])
    return shown.repeat(count, 1, 1, 1), rectangle(FILM).repeat(count, 1, 1, 1)


def draw(targets: torch.Tensor, valid: torch.Tensor, seed: int = 0, **shares: float):
    prompts = Prompts(**{"whole_film": 0.0, "one_lung": 0.0, "noise": 0.0} | shares)
    return draw_prompts(targets, valid, prompts, torch.Generator().manual_seed(seed))


def test_box_of_is_exclusive_at_right_and_bottom() -> None:
    assert box_of(rectangle(RIGHT) > 0, SIZE) == RIGHT
    assert box_of(torch.zeros(SIZE, SIZE), SIZE) == [0, 0, SIZE, SIZE]


def test_the_box_of_the_truth() -> None:
    targets, valid = batch(3)
    boxes, wanted = draw(targets, valid)
    assert boxes.tolist() == [[BOTH]] * 3
    assert torch.equal(wanted, targets[:, 2:])


def test_the_whole_film_without_its_padding() -> None:
    targets, valid = batch(3)
    boxes, wanted = draw(targets, valid, whole_film=1.0)
    assert boxes.tolist() == [[FILM]] * 3
    assert torch.equal(wanted, targets[:, 2:])


def test_a_box_round_one_lung_asks_for_that_lung() -> None:
    targets, valid = batch(40)
    boxes, wanted = draw(targets, valid, one_lung=1.0)
    rights = [box == [RIGHT] for box in boxes.tolist()]
    assert 10 < sum(rights) < 30
    for right, box, mask in zip(rights, boxes.tolist(), wanted, strict=True):
        assert box == ([RIGHT] if right else [LEFT])
        assert torch.equal(mask[0], targets[0, 0 if right else 1])


def test_unknown_sides_give_the_whole_film_and_both_lungs() -> None:
    targets, valid = batch(5, sides=False)
    boxes, wanted = draw(targets, valid, one_lung=1.0)
    assert boxes.tolist() == [[FILM]] * 5
    assert torch.equal(wanted, targets[:, 2:])


def test_an_empty_mask_gets_the_whole_film() -> None:
    targets, valid = batch(2)
    boxes, wanted = draw(0 * targets, valid)
    assert boxes.tolist() == [[FILM]] * 2
    assert float(wanted.sum()) == 0


def test_shares_of_prompts_are_kept() -> None:
    targets, valid = batch(2000)
    boxes, _ = draw(targets, valid, whole_film=0.5, one_lung=0.2)
    kinds = [tuple(box[0]) for box in boxes.tolist()]
    assert kinds.count(tuple(FILM)) / 2000 == pytest.approx(0.5, abs=0.04)
    assert (kinds.count(tuple(RIGHT)) + kinds.count(tuple(LEFT))) / 2000 == pytest.approx(0.2, abs=0.03)


def test_noise_stays_in_bounds_and_boxes_inside_the_film() -> None:
    targets, valid = batch(400)
    boxes = draw(targets, valid, noise=0.5)[0][:, 0]
    assert float(boxes[:, :2].min()) == 0  # some boxes would have left the film
    assert boxes[:, 2].max() == FILM[2]
    assert boxes[:, 3].max() == FILM[3]
    width, height = BOTH[2] - BOTH[0], BOTH[3] - BOTH[1]
    assert bool((boxes[:, 0] <= BOTH[0] + 0.25 * width).all())
    assert bool((boxes[:, 1] <= BOTH[1] + 0.25 * height).all())
    assert bool((boxes[:, 2] > boxes[:, 0]).all())
    assert bool((boxes[:, 3] > boxes[:, 1]).all())
    small = draw(targets, valid, noise=0.1)[0][:, 0]
    assert bool((small[:, 0] >= BOTH[0] - 0.1 * width - 1e-4).all())
    assert bool((small[:, 3] <= BOTH[3] + 0.1 * height + 1e-4).all())


def test_prompts_are_seeded() -> None:
    targets, valid = batch(20)
    shares = {"whole_film": 0.3, "one_lung": 0.3, "noise": 0.2}
    first, again, other = (draw(targets, valid, seed=seed, **shares)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
