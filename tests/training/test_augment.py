"""Augmentation: seeded, and the mask goes where the image goes."""

from dataclasses import replace

import pytest
import torch

from adaloraqat.training.augment import Augmentation, _enhance_edges, _opacities, vary_look

SIZE = 64


def disc(x: float, y: float, radius: float) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    return ((columns - x).square() + (rows - y).square() < radius**2).float()


def films(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    right, left = disc(20, 34, 8), disc(44, 34, 6)
    targets = torch.stack([right, left, right + left]).repeat(count, 1, 1, 1)
    return targets[:, 2:].clone(), targets, torch.ones(count, 1, SIZE, SIZE)


def augment(augmentation: Augmentation, count: int, seed: int = 0):
    return augmentation(*films(count), torch.Generator().manual_seed(seed))


def warp(augmentation: Augmentation, given: tuple[torch.Tensor, ...], seed: int):
    moved = augmentation.draw_warp(len(given[0]), torch.Generator().manual_seed(seed))
    assert moved is not None
    return moved(*given)


def test_strength_0_changes_nothing_and_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    given = films(3)
    for now, then in zip(Augmentation(0.0)(*given, generator), given, strict=True):
        assert torch.equal(now, then)
    assert torch.equal(generator.get_state(), before)


def test_one_seed_one_result() -> None:
    first, again, other = (augment(Augmentation(), 6, seed) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


def test_the_mask_follows_the_image() -> None:
    """The film shows what the mask outlines; the warp alone (no change of look) must keep it so."""
    given = films(40)
    moved = Augmentation().draw_warp(40, torch.Generator().manual_seed(2))
    assert moved is not None
    images, targets, _ = replace(moved, borders=torch.full((40,), torch.nan))(*given)
    assert float((images - targets[:, 2:]).abs().max()) < 1e-5
    assert float((images - given[0]).abs().amax(dim=(1, 2, 3)).min()) > 0.2  # and every film has moved


def test_a_fifth_lies_in_a_border_that_counts_as_film() -> None:
    images, targets, valid = films(400)
    valid[:, :, :, 48:] = 0  # padding at the right
    moved = Augmentation().draw_warp(400, torch.Generator().manual_seed(7))
    assert moved is not None
    framed = ~moved.borders.isnan()
    assert float(framed.float().mean()) == pytest.approx(0.2, abs=0.05)
    assert {0.0, 1.0} < {float(level) for level in moved.borders[framed]}
    seen, wanted, inside = moved(images, targets, valid)
    assert bool((inside[framed] == 1).all())
    assert bool((inside[~framed] == 0).flatten(1).any(dim=1).all())
    bare = replace(moved, borders=torch.full((400,), torch.nan))(images, targets, valid)
    assert torch.equal(wanted, bare[1])
    outside = (bare[2] == 0) & framed[:, None, None, None]
    level = moved.borders[:, None, None, None].expand_as(seen)
    assert float((seen - level)[outside].abs().quantile(0.95)) < 0.01  # its level, but at the soft edge


def test_opacities_hide_and_edges_stand_out_without_moving_anything() -> None:
    images = torch.full((64, 1, SIZE, SIZE), 0.2)
    hidden = _opacities(
        images, 1.0, torch.ones(64, 1, 1, 1, dtype=torch.bool), torch.Generator().manual_seed(1)
    )
    share = ((hidden - images).abs() > 0.05).float().mean(dim=(1, 2, 3))
    assert float(share.max()) > 0.05
    assert float(share.mean()) < 0.5
    sharp = _enhance_edges(disc(32, 32, 10)[None, None], torch.ones(1, 1, 1, 1), torch.tensor([[[[True]]]]))
    assert float(sharp.max()) > 1.1
    assert float(sharp.min()) < -0.1


def test_after_all_of_it_the_discs_stay_under_their_masks() -> None:
    given = films(40)
    images, targets, _ = augment(Augmentation(0.5), 40)
    inside, outside = targets[:, 2:] > 0.9, targets[:, 2:] < 0.1
    brighter = [
        float(image[i].mean() - image[o].mean()) for image, i, o in zip(images, inside, outside, strict=True)
    ]
    assert min(brighter) > 0.15
    misplaced = given[1][:, 2:].roll(16, dims=-2) > 0.9
    shifted = [float(image[i].mean() - image[~i].mean()) for image, i in zip(images, misplaced, strict=True)]
    assert sum(brighter) > 3 * sum(shifted)


def test_the_sides_stay_the_sides_of_the_image_when_flipped() -> None:
    given = films(30)
    plain = warp(Augmentation(1e-6, flip=0.0), given, seed=3)[1]
    flipped = warp(Augmentation(1e-6, flip=1.0), given, seed=3)[1]
    assert torch.allclose(plain, given[1], atol=1e-3)
    mirrored = given[1].flip(-1)[:, [1, 0, 2]]
    assert torch.allclose(flipped, mirrored, atol=1e-3)
    columns = torch.arange(SIZE, dtype=torch.float32)
    centres = (flipped.sum(dim=2) * columns).sum(dim=-1) / flipped.sum(dim=(2, 3))  # (B, 3)
    assert bool((centres[:, 0] < SIZE / 2).all())  # the right lung is at the image's left
    assert bool((centres[:, 1] > SIZE / 2).all())


def test_some_are_flipped() -> None:
    images, targets, valid = films(400)
    warped = warp(Augmentation(1e-6, flip=0.25), (images, targets, valid), seed=4)[0]
    flipped = (warped - images).abs().amax(dim=(1, 2, 3)) > 0.5
    assert float(flipped.float().mean()) == pytest.approx(0.25, abs=0.06)


def test_padding_is_padding_wherever_it_moves() -> None:
    images, targets, valid = films(30)
    valid[..., 50:] = 0
    _, _, moved = Augmentation()(images, targets, valid, torch.Generator().manual_seed(6))
    assert set(moved.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("strength", [0.3, 1.0, 2.0])
def test_looks_stay_in_range(strength: float) -> None:
    looks = vary_look(films(64)[0] * 0.6 + 0.2, strength, torch.Generator().manual_seed(7))
    assert bool(looks.isfinite().all())
    assert float(looks.min()) >= 0
    assert float(looks.max()) <= 1
    assert float(looks.flatten(1).std(dim=1).median()) > 0.02  # films are varied, not wiped out
