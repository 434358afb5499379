"""Losses against numbers worked by hand."""

import math

import pytest
import torch

from adaloraqat.training.kinds.base import Losses
from adaloraqat.training.optimization import mask_terms, soft_dice_loss


def grid(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 2, 2)


def terms_of(
    logits: torch.Tensor, targets: torch.Tensor, predicted: float = 0.0, **weights: float
) -> dict[str, torch.Tensor]:
    return mask_terms(logits, torch.tensor([[predicted]]), targets, Losses(**weights))


LOGIT_3_4 = math.log(3)  # sigmoid = 3/4


def test_dice_by_hand() -> None:
    # p = 3/4, 3/4, 1/2, 1/2 and t = 1, 0, 1, 0: overlap 1.25, sums 2.5 and 2, so
    # 1 - (2.5 + 1) / (4.5 + 1) = 4/11
    loss = soft_dice_loss(grid(LOGIT_3_4, LOGIT_3_4, 0, 0), grid(1, 0, 1, 0))
    assert float(loss) == pytest.approx(4 / 11)


def test_dice_is_the_mean_of_films_not_of_pixels() -> None:
    right, wrong = grid(50, 50, 50, 50), grid(-50, -50, -50, -50)
    target = torch.cat([grid(1, 1, 1, 1)] * 2)
    # the first film is perfect: 0; the second has nothing: 1 - 1 / (4 + 1) = 4/5
    assert float(soft_dice_loss(torch.cat([right, wrong]), target)) == pytest.approx(0.4)


def test_dice_of_an_empty_mask_is_finite() -> None:
    logits = grid(-50, -50, -50, -50).requires_grad_()
    loss = soft_dice_loss(logits, grid(0, 0, 0, 0))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0)
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_bce_by_hand() -> None:
    # -log(3/4), -log(1/4), -log(1/2), and a soft target of 1/2 at p = 1/2
    terms = terms_of(grid(LOGIT_3_4, LOGIT_3_4, 0, 0), grid(1, 0, 1, 0.5), bce=2.0)
    assert float(terms["bce"]) == pytest.approx(2 * (math.log(4 / 3) + math.log(4) + 2 * math.log(2)) / 4)
    assert set(terms) == {"bce", "dice"}


def test_quality_is_the_squared_error_of_the_iou() -> None:
    # predicted pixels 1, 2; true pixels 2, 3: IoU 1/3
    terms = terms_of(grid(1, 1, -1, -1), grid(0, 1, 0.9, 0.2), 0.5, quality=3.0)
    assert float(terms["quality"]) == pytest.approx(3 * (0.5 - 1 / 3) ** 2, abs=1e-6)


def test_quality_of_two_empty_masks_is_one() -> None:
    terms = terms_of(grid(-1, -1, -1, -1), grid(0, 0, 0, 0), 1.0, quality=1.0)
    assert float(terms["quality"]) == pytest.approx(0)
