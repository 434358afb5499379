"""Put adapters into a SAM encoder, find them, resize them, and merge them away."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn

from adaloraqat.errors import CheckpointError
from adaloraqat.lowrank.adapted_qkv import PROJECTIONS, AdaptedQKV, RowLayout
from adaloraqat.lowrank.svd_adapter import SVDAdapter

WIDTH_PER_RANK = 8
"""An adapter's rank is at most the encoder's width divided by this; beyond it a low rank saves little."""


def capped_rank(r_max: int, width: int) -> int:
    """Return `r_max`, or an eighth of the encoder's `width` (at least 1) where that is smaller.

    ViT-B (width 768) keeps 48; an encoder of width 192 gets 24.
    """
    return min(r_max, max(1, width // WIDTH_PER_RANK))


def scaled_ranks(r_max: int, r_target: int, width: int) -> tuple[int, int]:
    """Return the capped r_max and an r_target of the same ratio to it: (48, 32) is (24, 16) at width 192.

    A target above 0 stays at least 1.
    """
    rank = capped_rank(r_max, width)
    return rank, max(min(r_target, 1), round(r_target * rank / r_max)) if r_max else 0


def add_adapters(model: nn.Module, r_max: int, seed: int) -> dict[str, SVDAdapter]:
    """Adapt q, k and v of every encoder block of a `SamModel`, in place, with ΔW = 0.

    Everything outside the adapters and the mask decoder is frozen: encoder, prompt encoder, position tables.
    The mask decoder is left as it is, since stage 1 trains it whole. The bases are drawn from a generator of
    their own, so PyTorch's global random state is neither read nor moved.

    Args:
        model: a `SamModel`; its fused projections are `vision_encoder.layers[i].attn.qkv`, and those of a
            LiteMedSAM `vision_encoder.layers[i].blocks[j].attn.qkv`.
        r_max: components per matrix, capped at an eighth of the encoder's width (`capped_rank`); of an
            encoder of several widths, the smallest that carries adapters.
        seed: seed of the orthonormal bases.

    Returns:
        the adapters by name (`adapters_of`).

    Raises:
        ValueError: the model carries adapters already, it has no qkv, its qkv is no `nn.Linear`, or `r_max`
            is negative.
    """
    if r_max < 0:
        raise ValueError(f"r_max must not be negative, but is {r_max}")
    if adapted_layers(model):
        raise ValueError("the model carries adapters already: merge_adapters first")
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if not name.startswith("mask_decoder."):
            parameter.requires_grad_(False)
    rank = capped_rank(r_max, adapted_width(model))
    for attention in _attentions(model):
        qkv = cast(nn.Linear, attention.get_submodule("qkv"))
        layout = cast(RowLayout, getattr(attention, "qkv_layout", "thirds"))  # SAM's own do not say it
        heads = cast(int, getattr(attention, "num_heads", 1))
        attention.qkv = AdaptedQKV(qkv, rank, generator, layout, heads)
    return adapters_of(model)


def adapted_width(model: nn.Module) -> int:
    """Return the smallest input width of the fused projections of an encoder, adapted or not.

    Raises:
        ValueError: the model has none, or one is no linear layer.
    """
    projections = [attention.get_submodule("qkv") for attention in _attentions(model)]
    wrong = [qkv for qkv in projections if not isinstance(qkv, nn.Linear | AdaptedQKV)]
    if wrong or not projections:
        found = type(wrong[0]).__name__ if wrong else "missing"
        raise ValueError(f"qkv must be an nn.Linear to be adapted, but is {found}")
    return min(int(qkv.in_features) for qkv in projections)  # type: ignore[arg-type]


def _attentions(model: nn.Module) -> list[nn.Module]:
    """Return the attention modules of the encoder, in model order: those that own a fused projection."""
    layers = model.get_submodule("vision_encoder.layers")
    return [module for module in layers.modules() if "qkv" in module._modules]


def merge_adapters(model: nn.Module) -> None:
    """Replace each adapted projection by a plain frozen `nn.Linear` of weight W + ΔW, in place, exactly."""
    for name, qkv in adapted_layers(model).items():
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, qkv.merged())


def adapted_layers(model: nn.Module) -> dict[str, AdaptedQKV]:
    """Return the adapted projections by module name, such as `vision_encoder.layers.0.attn.qkv`."""
    return {name: module for name, module in model.named_modules() if isinstance(module, AdaptedQKV)}


def adapters_of(model: nn.Module) -> dict[str, SVDAdapter]:
    """Return the adapters in model order, named like `vision_encoder.layers.0.attn.qkv.q`."""
    return {
        f"{name}.{projection}": qkv.adapter(projection)
        for name, qkv in adapted_layers(model).items()
        for projection in PROJECTIONS
    }


@torch.no_grad()
def set_ranks(model: nn.Module, ranks: Mapping[str, int]) -> None:
    """Give each adapter the capacity it had when it was saved, so that its state can be loaded.

    Keeps the first components of each adapter and makes new, smaller parameters: call it before building an
    optimiser. (To shrink adapters in the middle of a training, use `remove_pruned`.)

    Raises:
        CheckpointError: a name or a rank does not fit this model.
    """
    adapters = adapters_of(model)
    if set(ranks) != set(adapters):
        raise CheckpointError(
            "The saved ranks belong to a model with other attention blocks: load it with the architecture"
            " that it was saved with."
        )
    for name, rank in ranks.items():
        if not 0 <= rank <= adapters[name].capacity:
            raise CheckpointError(
                f"The saved rank {rank} of {name} does not fit an adapter of {adapters[name].capacity}"
                " components: load it with the r_max that it was trained with."
            )
    for name, rank in ranks.items():
        _truncate(adapters[name], rank)


def _truncate(adapter: SVDAdapter, rank: int) -> None:
    adapter.P = nn.Parameter(adapter.P[:, :rank].clone(), requires_grad=adapter.P.requires_grad)
    adapter.singular_values = nn.Parameter(
        adapter.singular_values[:rank].clone(), requires_grad=adapter.singular_values.requires_grad
    )
    adapter.Q = nn.Parameter(adapter.Q[:rank].clone(), requires_grad=adapter.Q.requires_grad)
    adapter.mask = adapter.mask[:rank].clone()
