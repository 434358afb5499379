from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import SamModel

from adaloraqat.lowrank import adapters_of, add_adapters, orthogonality_loss, remove_pruned

Logits = Callable[[nn.Module], Tensor]


def _step(model: SamModel, optimizer: torch.optim.Optimizer, logits: Logits) -> None:
    optimizer.zero_grad()
    (logits(model).square().mean() + 0.003 * orthogonality_loss(model)).backward()
    optimizer.step()


def _trained(model: SamModel, logits: Logits) -> torch.optim.AdamW:
    """Adapters after two steps of AdamW, then masked to ranks 0, 1, 2, 3, 4, 4 in scattered places."""
    adapters = add_adapters(model, 4, seed=0)
    values = [adapter.singular_values for adapter in adapters.values()]
    bases = [basis for adapter in adapters.values() for basis in (adapter.P, adapter.Q)]
    decoder = list(model.mask_decoder.parameters())
    optimizer = torch.optim.AdamW(
        [{"params": values, "lr": 1e-2}, {"params": bases, "lr": 1e-3}, {"params": decoder, "lr": 1e-4}]
    )
    for _ in range(2):
        _step(model, optimizer, logits)
    masks = ([0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1])
    for adapter, mask in zip(adapters.values(), masks, strict=True):
        adapter.mask.copy_(torch.tensor(mask))
    return optimizer


def test_removal_leaves_the_output_and_shrinks_the_parameters(sam: SamModel, logits: Logits) -> None:
    _trained(sam, logits)
    before = logits(sam)
    assert list(remove_pruned(sam).values()) == [0, 1, 2, 3, 4, 4]
    torch.testing.assert_close(logits(sam), before, atol=1e-6, rtol=1e-6)
    third = list(adapters_of(sam).values())[2]
    assert (third.P.shape, third.singular_values.shape, third.Q.shape) == ((32, 2), (2,), (2, 32))
    assert third.mask.tolist() == [1, 1]


def test_optimiser_state_is_cut_with_the_component(sam: SamModel, logits: Logits) -> None:
    optimizer = _trained(sam, logits)
    groups = [[id(parameter) for parameter in group["params"]] for group in optimizer.param_groups]
    adapter = list(adapters_of(sam).values())[3]  # keeps 0, 2, 3
    left = optimizer.state[adapter.P]["exp_avg"].clone()
    values = optimizer.state[adapter.singular_values]["exp_avg_sq"].clone()
    right = optimizer.state[adapter.Q]["exp_avg"].clone()
    remove_pruned(sam, optimizer)
    assert [[id(parameter) for parameter in group["params"]] for group in optimizer.param_groups] == groups
    assert torch.equal(optimizer.state[adapter.P]["exp_avg"], left[:, [0, 2, 3]])
    assert torch.equal(optimizer.state[adapter.singular_values]["exp_avg_sq"], values[[0, 2, 3]])
    assert torch.equal(optimizer.state[adapter.Q]["exp_avg"], right[[0, 2, 3]])
    assert optimizer.state[adapter.P]["step"] == 2


def test_training_goes_on_as_if_the_components_were_only_masked(
    make_sam: Callable[[], SamModel], logits: Logits
) -> None:
    masked, removed = make_sam(), make_sam()
    masked_optimizer, removed_optimizer = _trained(masked, logits), _trained(removed, logits)
    remove_pruned(removed, removed_optimizer)
    before = logits(removed)
    for _ in range(3):
        _step(masked, masked_optimizer, logits)
        _step(removed, removed_optimizer, logits)
    torch.testing.assert_close(logits(removed), logits(masked), atol=1e-4, rtol=1e-4)
    assert (logits(removed) - before).abs().max() > 1e-2
