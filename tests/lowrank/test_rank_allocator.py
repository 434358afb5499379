from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.lowrank import RankAllocator, SVDAdapter


def _adapters(ranks: dict[str, int]) -> dict[str, SVDAdapter]:
    generator = torch.Generator().manual_seed(0)
    return {name: SVDAdapter(max(8, rank), max(8, rank), rank, generator) for name, rank in ranks.items()}


def _plant(adapter: SVDAdapter, values: list[float], gradient: list[float]) -> None:
    """Make backward() give `gradient` at Λ = `values`, as a loss of Σ gᵢ λᵢ mᵢ would."""
    adapter.singular_values.grad = None
    with torch.no_grad():
        adapter.singular_values.copy_(torch.tensor(values))
    (adapter.active_values() * torch.tensor(gradient)).sum().backward()


def test_budget_steps_of_vit_b() -> None:
    allocator = RankAllocator(_adapters({str(index): 48 for index in range(36)}), 32)
    assert allocator.initial_budget == 1728
    assert allocator.budgets == (1536, 1344, 1152)


def test_uneven_steps_end_exactly_at_the_target() -> None:
    assert RankAllocator(_adapters({"a": 7, "b": 7}), 2, (1, 2, 3)).budgets == (11, 8, 4)


def test_planted_gradients_leave_one_matrix_full_and_one_empty() -> None:
    adapters = _adapters({"a": 4, "b": 4, "c": 4})
    allocator = RankAllocator(adapters, 2, (3, 7, 12))
    ranks = []
    for point in range(1, 13):
        _plant(adapters["a"], [1.0] * 4, [1.0] * 4)
        _plant(adapters["b"], [1.0] * 4, [0.001] * 4)
        _plant(adapters["c"], [1.0] * 4, [0.5, 0.01, 0.02, 0.5])
        allocator.accumulate()
        if allocator.due(point):
            ranks.append(allocator.prune(point))
    assert ranks == [{"a": 4, "b": 2, "c": 4}, {"a": 4, "b": 0, "c": 4}, {"a": 4, "b": 0, "c": 2}]
    assert adapters["c"].mask.tolist() == [1, 0, 0, 1]
    assert allocator.finished
    assert allocator.ranks() == ranks[-1]


def test_real_gradients_empty_the_matrix_that_the_loss_does_not_need() -> None:
    adapters = _adapters({"used": 4, "idle": 4})
    target = torch.randn(8, 8, generator=torch.Generator().manual_seed(2))
    parameters = [parameter for adapter in adapters.values() for parameter in adapter.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    allocator = RankAllocator(adapters, 2, (10, 20))
    for step in range(1, 21):
        optimizer.zero_grad()
        used, idle = adapters["used"].delta_weight(), adapters["idle"].delta_weight()
        ((used - target).square().sum() + 1e-9 * idle.sum()).backward()
        allocator.accumulate()
        optimizer.step()
        if allocator.due(step):
            allocator.prune(step)
    assert allocator.ranks() == {"used": 4, "idle": 0}


def test_importance_against_numbers_by_hand() -> None:
    adapters = _adapters({"a": 2, "b": 1})
    allocator = RankAllocator(adapters, 1, (1,))
    _plant(adapters["a"], [2.0, -3.0], [-0.5, 4.0])  # 1 and 12
    _plant(adapters["b"], [0.0], [100.0])  # 0
    allocator.accumulate()
    _plant(adapters["a"], [1.0, 1.0], [3.0, -2.0])  # 3 and 2
    _plant(adapters["b"], [0.25], [8.0])  # 2
    allocator.accumulate()
    importance = allocator.importance()
    assert importance["a"].tolist() == [2.0, 7.0]  # (1 + 3) / 2 and (12 + 2) / 2
    assert importance["b"].tolist() == [1.0]
    assert allocator.prune(1) == {"a": 2, "b": 0}


def test_ties_thin_all_matrices_evenly_from_the_last_component() -> None:
    adapters = _adapters({"a": 3, "b": 3})
    allocator = RankAllocator(adapters, 1, (1, 2))
    for point in (1, 2):
        for adapter in adapters.values():
            _plant(adapter, [1.0] * 3, [1.0] * 3)
        allocator.accumulate()
        allocator.prune(point)
        if point == 1:
            assert [adapter.mask.tolist() for adapter in adapters.values()] == [[1, 1, 0], [1, 1, 0]]
    assert [adapter.mask.tolist() for adapter in adapters.values()] == [[1, 0, 0], [1, 0, 0]]


def test_masked_components_stay_masked_and_accumulation_starts_anew() -> None:
    adapters = _adapters({"a": 3})
    allocator = RankAllocator(adapters, 1, (1, 2))
    _plant(adapters["a"], [1.0] * 3, [0.1, 5.0, 5.0])
    allocator.accumulate()
    allocator.prune(1)
    _plant(adapters["a"], [9.0, 1.0, 1.0], [9.0, 1.0, 2.0])  # the masked first one cannot come back
    allocator.accumulate()
    assert allocator.importance()["a"].tolist() == [0.0, 1.0, 2.0]  # nothing left of the first round
    allocator.prune(2)
    assert adapters["a"].mask.tolist() == [0, 0, 1]
    allocator.accumulate()  # nothing left to decide, nothing to go wrong


@pytest.mark.parametrize("stop", range(1, 7))
def test_resumed_equals_uninterrupted(tmp_path: Path, stop: int) -> None:
    def run(interrupted: bool) -> tuple[dict[str, SVDAdapter], RankAllocator]:
        adapters = _adapters({"a": 4, "b": 4})
        allocator = RankAllocator(adapters, 2, (2, 4, 6))
        noise = torch.Generator().manual_seed(4)
        for step in range(1, 7):
            for adapter in adapters.values():
                values, gradient = torch.randn(2, 4, generator=noise).tolist()
                _plant(adapter, values, gradient)
            allocator.accumulate()
            if allocator.due(step):
                allocator.prune(step)
            if interrupted and step == stop:
                save_file(allocator.state_dict(), tmp_path / "allocator.safetensors")
                old, adapters = adapters, _adapters({"a": 4, "b": 4})
                for name, adapter in adapters.items():
                    adapter.load_state_dict(old[name].state_dict())
                allocator = RankAllocator(adapters, 2, (2, 4, 6))
                allocator.load_state_dict(load_file(tmp_path / "allocator.safetensors"))
        return adapters, allocator

    (straight, first), (resumed, second) = run(False), run(True)
    for name, adapter in straight.items():
        assert torch.equal(adapter.mask, resumed[name].mask)
    assert first.budgets == second.budgets == (7, 6, 4)
    assert {key: value.tolist() for key, value in first.state_dict().items()} == {
        key: value.tolist() for key, value in second.state_dict().items()
    }


def test_a_finished_allocation_resumes_on_a_model_already_reduced() -> None:
    adapters = _adapters({"a": 2, "b": 2})
    allocator = RankAllocator(adapters, 1, (1,))
    _plant(adapters["a"], [1.0] * 2, [1.0] * 2)
    _plant(adapters["b"], [0.0] * 2, [1.0] * 2)
    allocator.accumulate()
    allocator.prune(1)
    resumed = RankAllocator(_adapters({"a": 2, "b": 0}), 1, (1,))
    resumed.load_state_dict(allocator.state_dict())
    assert resumed.finished
    assert (resumed.budgets, resumed.ranks()) == ((2,), {"a": 2, "b": 0})


def test_state_of_another_run_is_refused() -> None:
    state = RankAllocator(_adapters({"a": 4}), 2, (1, 2)).state_dict()
    with pytest.raises(CheckpointError, match="other prune points"):
        RankAllocator(_adapters({"a": 4}), 2, (1, 3)).load_state_dict(state)
    with pytest.raises(CheckpointError, match="other adapters"):
        RankAllocator(_adapters({"b": 4}), 2, (1, 2)).load_state_dict(state)


@pytest.mark.parametrize(
    ("r_target", "points", "message"),
    [(5, (1,), "between 0 and 4"), (-1, (1,), "between 0 and 4"), (2, (3, 3), "rise"), (2, (), "rise")],
)
def test_impossible_plans_are_refused(r_target: int, points: tuple[int, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        RankAllocator(_adapters({"a": 4}), r_target, points)


def test_pruning_without_evidence_is_refused() -> None:
    adapters = _adapters({"a": 4})
    with pytest.raises(RecipeError, match="no adapters"):
        RankAllocator({}, 1)
    allocator = RankAllocator(adapters, 2, (1, 2))
    with pytest.raises(RuntimeError, match="after backward"):
        allocator.accumulate()
    with pytest.raises(RecipeError, match="No training step"):
        allocator.prune(1)
    with pytest.raises(ValueError, match="not the next"):
        allocator.prune(2)
    _plant(adapters["a"], [1.0] * 4, [1.0, float("nan"), 1.0, 1.0])
    allocator.accumulate()
    with pytest.raises(RecipeError, match="not finite"):
        allocator.prune(1)


def test_the_papers_prune_points_unless_told() -> None:
    assert RankAllocator(_adapters({"a": 6}), 3).prune_points == (3, 7, 12)
