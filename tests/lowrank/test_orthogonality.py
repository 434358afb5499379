import pytest
import torch
from torch import nn

from adaloraqat.lowrank import AdaptedQKV, SVDAdapter, orthogonality, orthogonality_loss


def _adapter(left: list[list[float]], right: list[list[float]]) -> SVDAdapter:
    adapter = SVDAdapter(len(left), len(right[0]), len(right), torch.Generator().manual_seed(0))
    with torch.no_grad():
        adapter.P.copy_(torch.tensor(left))
        adapter.Q.copy_(torch.tensor(right))
    return adapter


def test_orthonormal_bases_cost_nothing() -> None:
    assert orthogonality(_adapter([[1, 0], [0, 1], [0, 0]], [[0, 1], [1, 0]])).item() == 0


def test_hand_made_bases() -> None:
    # PᵀP = [[4, 2], [2, 2]]: off by [[3, 2], [2, 1]] = 18. QQᵀ = [[1, 0], [0, 9]]: off by 8 = 64.
    adapter = _adapter([[2, 1], [0, 1], [0, 0]], [[1, 0], [0, 3]])
    assert orthogonality(adapter).item() == 82
    adapter.mask[1] = 0  # left are PᵀP = [[4]] and QQᵀ = [[1]]
    assert orthogonality(adapter).item() == 9
    adapter.mask[0] = 0
    assert orthogonality(adapter).item() == 0


def test_masked_components_receive_no_gradient() -> None:
    adapter = _adapter([[2, 1], [0, 1], [0, 0]], [[1, 0], [0, 3]])
    adapter.mask[1] = 0
    orthogonality(adapter).backward()
    assert adapter.P.grad is not None
    assert adapter.Q.grad is not None
    assert adapter.P.grad[0, 0] == 4 * 3 * 2  # d(p² − 1)²/dp = 4p(p² − 1) at p = 2
    assert not adapter.P.grad[:, 1].any()
    assert not adapter.Q.grad[1].any()


def test_the_loss_is_the_mean_over_matrices() -> None:
    layer = AdaptedQKV(nn.Linear(2, 6, dtype=torch.float64), 1, torch.Generator().manual_seed(0))
    with torch.no_grad():
        layer.adapter("q").P.mul_(2)  # R = (4 − 1)² = 9; k and v are orthonormal
    assert orthogonality_loss(nn.Sequential(layer)).item() == pytest.approx(3)


def test_the_loss_is_never_silently_absent() -> None:
    with pytest.raises(ValueError, match="no adapters"):
        orthogonality_loss(nn.Linear(2, 2))
