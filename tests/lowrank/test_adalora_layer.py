import pytest
import torch
from torch import nn

from adaloraqat.lowrank import AdaptedQKV, SVDAdapter


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_bases_start_orthonormal_and_the_update_at_zero() -> None:
    adapter = SVDAdapter(12, 8, 5, _generator())
    torch.testing.assert_close(adapter.P.T @ adapter.P, torch.eye(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(adapter.Q @ adapter.Q.T, torch.eye(5), atol=1e-6, rtol=0)
    assert torch.equal(adapter.delta_weight(), torch.zeros(12, 8))


def test_update_of_hand_made_factors() -> None:
    adapter = SVDAdapter(2, 2, 2, _generator())
    with torch.no_grad():
        adapter.P.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        adapter.singular_values.copy_(torch.tensor([10.0, 100.0]))
        adapter.Q.copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    # Column 1 times row 1 times 10, plus column 2 times row 2 times 100.
    assert adapter.delta_weight().tolist() == [[210.0, 200.0], [430.0, 400.0]]
    adapter.mask[1] = 0
    assert adapter.delta_weight().tolist() == [[10.0, 0.0], [30.0, 0.0]]
    assert (adapter.rank, adapter.capacity) == (1, 2)


def test_singular_values_are_those_of_the_update() -> None:
    adapter = SVDAdapter(12, 8, 3, _generator(), dtype=torch.float64)
    with torch.no_grad():
        adapter.singular_values.copy_(torch.tensor([3.0, 2.0, 1.0]))
    values = torch.linalg.svdvals(adapter.delta_weight())
    torch.testing.assert_close(values[:3], torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
    assert values[3:].max() < 1e-12


def test_rank_zero_updates_nothing_and_differentiates() -> None:
    adapter = SVDAdapter(6, 4, 0, _generator())
    update = adapter.delta_weight()
    assert torch.equal(update, torch.zeros(6, 4))
    update.sum().backward()
    assert adapter.singular_values.grad is not None
    assert adapter.singular_values.grad.shape == (0,)


@pytest.mark.parametrize("rank", [-1, 5])
def test_impossible_rank_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        SVDAdapter(6, 4, rank, _generator())


def test_gradients_of_all_factors_against_finite_differences() -> None:
    layer = AdaptedQKV(nn.Linear(5, 12, dtype=torch.float64), 3, _generator())
    layer.adapter("k").mask[1] = 0
    names = [name for name, parameter in layer.named_parameters() if parameter.requires_grad]
    assert len(names) == 9
    values = tuple(torch.randn_like(layer.get_parameter(name)).requires_grad_() for name in names)
    inputs = torch.randn(2, 5, dtype=torch.float64)

    def output(*factors: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, factors, strict=True)), (inputs,))

    assert torch.autograd.gradcheck(output, values)


def test_heads_are_one_unless_told() -> None:
    layers = [
        AdaptedQKV(nn.Linear(5, 12), 2, _generator(), *layout) for layout in (("heads",), ("heads", 1), ())
    ]
    assert [layer.row_blocks for layer in layers] == [1, 1, 1]


def test_masked_component_gets_no_gradient_and_the_optimiser_cannot_revive_it() -> None:
    adapter = SVDAdapter(6, 5, 3, _generator())
    with torch.no_grad():
        adapter.singular_values.fill_(1.0)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):  # momentum for every component
        optimizer.zero_grad()
        adapter.delta_weight().square().sum().backward()
        optimizer.step()
    adapter.mask[1] = 0
    for _ in range(3):
        optimizer.zero_grad()
        adapter.delta_weight().square().sum().backward()
        assert adapter.P.grad is not None
        assert adapter.Q.grad is not None
        assert adapter.singular_values.grad is not None
        assert not adapter.P.grad[:, 1].any()
        assert not adapter.Q.grad[1].any()
        assert adapter.singular_values.grad[1] == 0
        optimizer.step()
    alone = (adapter.P[:, [0, 2]] * adapter.singular_values[[0, 2]]) @ adapter.Q[[0, 2]]
    torch.testing.assert_close(adapter.delta_weight(), alone)


def test_all_of_an_adapter_lies_on_the_device_that_was_asked_for() -> None:
    adapter = SVDAdapter(12, 8, 3, _generator(), device="meta")
    assert {tensor.device.type for tensor in adapter.state_dict().values()} == {"meta"}
