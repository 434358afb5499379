import hashlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import SamConfig, SamModel

from adaloraqat.errors import CheckpointError
from adaloraqat.lowrank import (
    AdaptedQKV,
    adaptation_warnings,
    adapted_layers,
    adapted_width,
    adapters_of,
    add_adapters,
    capped_rank,
    count_trainable,
    merge_adapters,
    orthogonality_loss,
    relative_update,
    remove_pruned,
    scaled_ranks,
    set_ranks,
)
from adaloraqat.models.families import build
from adaloraqat.models.registry import architecture

Logits = Callable[[nn.Module], Tensor]


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()


def _randomise(model: nn.Module) -> None:
    with torch.no_grad():
        for adapter in adapters_of(model).values():
            adapter.singular_values.normal_(generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def test_adapted_model_equals_its_base_bit_for_bit(sam: SamModel, logits: Logits) -> None:
    before = logits(sam)
    add_adapters(sam, 4, seed=0)
    assert torch.equal(logits(sam), before)
    assert before.std() > 0.01


def test_names_and_capped_rank(sam: SamModel) -> None:
    adapters = add_adapters(sam, 48, seed=0)
    assert list(adapters) == [
        f"vision_encoder.layers.{block}.attn.qkv.{name}" for block in (0, 1) for name in "qkv"
    ]
    assert {adapter.capacity for adapter in adapters.values()} == {4}  # an eighth of 32
    assert (capped_rank(48, 768), capped_rank(48, 192), capped_rank(2, 192)) == (48, 24, 2)
    assert (scaled_ranks(48, 32, 768), scaled_ranks(48, 32, 192)) == ((48, 32), (24, 16))
    assert (scaled_ranks(48, 1, 32), scaled_ranks(48, 0, 32), scaled_ranks(0, 0, 32)) == (
        (4, 1),
        (4, 0),
        (0, 0),
    )


def test_seed_decides_the_bases_and_the_global_random_state_does_not(
    make_sam: Callable[[], SamModel],
) -> None:
    models = [make_sam() for _ in range(3)]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    for model, seed in zip(models, (5, 5, 6), strict=True):
        add_adapters(model, 4, seed=seed)
    assert torch.equal(torch.get_rng_state(), state)
    first, same, other = ([adapter.P for adapter in adapters_of(model).values()] for model in models)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not torch.equal(first[0], first[1])  # each matrix has its own


def test_each_adapter_moves_its_own_third_of_the_rows() -> None:
    layer = AdaptedQKV(nn.Linear(4, 12), 2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        layer.adapter("k").singular_values.fill_(1.0)
    change = layer.effective_weight() - layer.base.weight
    assert change[4:8].abs().min() > 0
    assert not change[:4].any()
    assert not change[8:].any()
    assert torch.equal(layer.base_rows("v"), layer.base.weight[8:])


@torch.no_grad()  # attention picks another kernel where a gradient is wanted
def test_merging_is_exact_and_leaves_plain_layers(sam: SamModel, logits: Logits) -> None:
    structure = set(sam.state_dict())
    add_adapters(sam, 4, seed=0)
    _randomise(sam)
    adapted = logits(sam)
    merge_adapters(sam)
    assert torch.equal(logits(sam), adapted)
    assert set(sam.state_dict()) == structure
    assert not adapted_layers(sam)


def test_training_changes_adapters_and_decoder_and_no_other_tensor(sam: SamModel, logits: Logits) -> None:
    before = {name: _digest(value) for name, value in sam.state_dict().items()}
    adapters = add_adapters(sam, 4, seed=0)
    trainable = [parameter for parameter in sam.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        (logits(sam).square().mean() + 0.003 * orthogonality_loss(sam)).backward()
        optimizer.step()
    assert all(adapter.singular_values.all() for adapter in adapters.values())
    after = {name.replace("qkv.base.", "qkv."): value for name, value in sam.state_dict().items()}
    changed = {name for name, digest in before.items() if _digest(after[name]) != digest}
    assert changed
    assert all(name.startswith("mask_decoder.") for name in changed)


def test_relative_update_by_hand_and_warnings() -> None:
    model = nn.Sequential(AdaptedQKV(nn.Linear(2, 6, bias=False), 1, torch.Generator().manual_seed(0)))
    with torch.no_grad():
        model[0].base.weight.copy_(torch.tensor([[3.0, 4], [0, 0], [0, 0], [0, 0], [1, 0], [0, 0]]))
        model[0].adapter("q").singular_values.fill_(2.0)  # unit vectors, so ‖ΔW‖ = 2 against ‖W_q‖ = 5
        model[0].adapter("k").singular_values.fill_(1.0)  # against an all-zero W_k
    updates = relative_update(model)
    assert updates == pytest.approx({"0.q": 0.4, "0.k": 1.0, "0.v": 0.0})
    assert adaptation_warnings(updates, {"0.q": 1, "0.k": 0, "0.v": 1}, (2,)) == []


def test_warnings_name_what_did_not_happen() -> None:
    (still,) = adaptation_warnings({"a": 1e-4, "b": 9e-4}, {"a": 2, "b": 2})
    assert "9.0e-04" in still
    (unpruned,) = adaptation_warnings({"a": 0.1}, {"a": 4, "b": 4}, (6, 4))
    assert "never reduced to the planned 4" in unpruned
    (uniform,) = adaptation_warnings({"a": 0.1}, {"a": 2, "b": 2}, (6, 4))
    assert "same rank" in uniform


@torch.no_grad()
def test_a_model_of_uneven_ranks_is_rebuilt_from_its_state(
    make_sam: Callable[[], SamModel], logits: Logits
) -> None:
    ranks = dict(zip(add_adapters(source := make_sam(), 4, seed=0), (4, 0, 1, 2, 3, 4), strict=True))
    set_ranks(source, ranks)
    _randomise(source)
    target = make_sam()
    add_adapters(target, 4, seed=9)
    set_ranks(target, ranks)
    target.load_state_dict(source.state_dict())
    assert torch.equal(logits(target), logits(source))
    assert {name: adapter.rank for name, adapter in adapters_of(target).items()} == ranks


def test_foreign_ranks_are_refused_in_a_sentence(sam: SamModel) -> None:
    names = list(add_adapters(sam, 4, seed=0))
    with pytest.raises(CheckpointError, match="other attention blocks"):
        set_ranks(sam, dict.fromkeys(names[:-1], 2))
    with pytest.raises(CheckpointError, match=r"rank 5 of .* does not fit an adapter of 4"):
        set_ranks(sam, dict.fromkeys(names, 5))


def test_adapting_twice_is_refused(sam: SamModel) -> None:
    add_adapters(sam, 4, seed=0)
    with pytest.raises(ValueError, match="already"):
        add_adapters(sam, 4, seed=0)


def test_vit_b_arithmetic() -> None:
    with torch.device("meta"):
        model = SamModel(SamConfig())
    add_adapters(model, 48, seed=0)
    assert (count := count_trainable(model)).components == 1728
    assert count.stage_1 == 6_714_276
    assert f"{count.reduction:.1f}" == "14.0"
    set_ranks(model, dict.fromkeys(adapters_of(model), 32))
    count = count_trainable(model)
    assert (count.matrices, count.components, count.stage_2) == (36, 1152, 1152)
    assert (count.adapter_parameters, count.decoder_parameters) == (1_770_624, 4_058_340)
    assert (count.base_parameters, count.stage_1) == (93_735_728, 5_828_964)
    assert (f"{count.trainable_share:.1%}", f"{count.reduction:.1f}") == ("6.1%", "16.1")
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trainable == count.stage_1


@pytest.mark.parametrize("name", ["tiny", "lite_medsam_tiny"])
def test_each_adapter_moves_its_own_projection_in_the_encoders_own_row_layout(name: str) -> None:
    """Read q, k and v as each encoder's own forward does, and let one adapter at a time act."""
    config = architecture(name).to_dict()
    model = build(config).eval()
    adapters = add_adapters(model, 2, seed=0)
    for layer, qkv in adapted_layers(model).items():
        attention = model.get_submodule(layer.rpartition(".")[0])
        heads = attention.num_attention_heads if name == "tiny" else attention.num_heads
        inputs = torch.randn(5, qkv.in_features)
        for index, projection in enumerate("qkv"):
            adapter = adapters[f"{layer}.{projection}"]
            adapter.singular_values.data.fill_(0.5)
            change = qkv(inputs) - qkv.base(inputs)  # (5, 3d)
            if name == "tiny":  # SamVisionAttention: (tokens, 3, heads, size)
                by_projection = change.reshape(5, 3, heads, -1).permute(1, 0, 2, 3)
            else:  # tiny_vit_sam.Attention: (tokens, heads, q | k | v)
                by_projection = torch.stack(change.reshape(5, heads, -1).chunk(3, dim=-1))
            wanted = inputs @ adapter.delta_weight().T
            torch.testing.assert_close(by_projection[index].flatten(1), wanted, rtol=1e-4, atol=1e-5)
            others = [i for i in range(3) if i != index]
            assert by_projection[others].abs().max() < 1e-5
            assert torch.equal(qkv.fuse([qkv.rows(p, qkv.base.weight) for p in "qkv"]), qkv.base.weight)
            adapter.singular_values.data.zero_()
    assert len(adapters) == 3 * (2 if name == "tiny" else 4)


# ---- what was pruned is removed ----------------------------------------------------------------------


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


def test_a_projection_that_is_no_linear_layer_is_named(sam: SamModel) -> None:
    sam.vision_encoder.layers[0].attn.qkv = nn.Identity()
    with pytest.raises(ValueError, match="but is Identity"):
        adapted_width(sam)
