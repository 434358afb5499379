"""AdaLoRA on a SAM: adapters are put into its encoder, found, counted, resized, pruned, and merged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from adaloraqat.errors import CheckpointError
from adaloraqat.lowrank.adalora_layer import PROJECTIONS, AdaptedQKV, RowLayout, SVDAdapter

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
        ValueError: the model has none, or one is not a linear layer.
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


def capacities(model: nn.Module) -> dict[str, int]:
    """Return the stored rank of every adapter by name, masked components included."""
    return {name: adapter.capacity for name, adapter in adapters_of(model).items()}


@torch.no_grad()
def set_ranks(model: nn.Module, ranks: Mapping[str, int]) -> None:
    """Give each adapter the capacity it had when it was saved, so that its state can be loaded.

    Keeps the first components of each adapter: call it before building an optimiser. (To shrink adapters in
    the middle of a training, use `remove_pruned`.)

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
        _keep(adapters[name], torch.arange(rank, device=adapters[name].mask.device))


@torch.no_grad()
def remove_pruned(model: nn.Module, optimizer: Optimizer | None = None) -> dict[str, int]:
    """Remove every masked component, in place; the model's output stays the same up to rounding.

    The parameters stay the same objects, only smaller, so the optimiser's groups and anything else that holds
    them remain valid. State tensors of a parameter's own shape (AdamW's `exp_avg` and `exp_avg_sq`, a
    momentum buffer) are cut the same way; the surviving components continue as if nothing had happened.
    Gradients of the adapters are dropped: call it between an optimiser step and the next backward pass.

    Returns:
        the rank of each matrix by name; 0 is possible.
    """
    for adapter in adapters_of(model).values():
        kept = adapter.mask.nonzero().flatten()  # (rank,)
        if kept.numel() < adapter.capacity:
            _keep(adapter, kept, optimizer)
    return capacities(model)


def _keep(adapter: SVDAdapter, kept: Tensor, optimizer: Optimizer | None = None) -> None:
    for parameter, dimension in ((adapter.P, 1), (adapter.singular_values, 0), (adapter.Q, 0)):
        if optimizer is not None:
            _cut_state(optimizer, parameter, dimension, kept)
        parameter.grad = None
        parameter.data = parameter.data.index_select(dimension, kept)
    adapter.mask = adapter.mask.index_select(0, kept)


def _cut_state(optimizer: Optimizer, parameter: nn.Parameter, dimension: int, kept: Tensor) -> None:
    if parameter not in optimizer.state:
        return
    state = optimizer.state[parameter]
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            state[key] = value.index_select(dimension, kept)


@dataclass(frozen=True)
class TrainableCount:
    """Parameter counts of an adapted SAM; see docs/lowrank.md for how the published numbers arise.

    Attributes:
        matrices: adapted matrices (three a block).
        components: unmasked components over all matrices; the paper's stage 2 trains one λ each.
        adapter_parameters: entries of P, Λ and Q of the unmasked components.
        decoder_parameters: parameters of the mask decoder, trained whole in stage 1; 0 where it is not.
        base_parameters: all parameters of the model without adapters.
    """

    matrices: int
    components: int
    adapter_parameters: int
    decoder_parameters: int
    base_parameters: int

    @property
    def stage_1(self) -> int:
        """Parameters that stage 1 trains: adapters and mask decoder."""
        return self.adapter_parameters + self.decoder_parameters

    @property
    def stage_2(self) -> int:
        """Parameters that the paper's stage 2 trains: the singular values."""
        return self.components

    @property
    def trainable_share(self) -> float:
        """Stage-1 parameters as a share of all, base and adapters together."""
        return self.stage_1 / (self.base_parameters + self.adapter_parameters)

    @property
    def reduction(self) -> float:
        """How many times fewer than full fine-tuning of the base."""
        return self.base_parameters / self.stage_1


def count_trainable(model: nn.Module, train_decoder: bool = True) -> TrainableCount:
    """Count an adapted `SamModel`; on the meta device too, where no component counts as masked."""
    decoder = model.get_submodule("mask_decoder").parameters() if train_decoder else ()
    adapters = adapters_of(model).values()
    stored = sum(parameter.numel() for adapter in adapters for parameter in adapter.parameters())
    per_component = [adapter.P.shape[0] + 1 + adapter.Q.shape[1] for adapter in adapters]
    ranks = [adapter.rank for adapter in adapters]
    return TrainableCount(
        matrices=len(ranks),
        components=sum(ranks),
        adapter_parameters=sum(rank * size for rank, size in zip(ranks, per_component, strict=True)),
        decoder_parameters=sum(parameter.numel() for parameter in decoder),
        base_parameters=sum(parameter.numel() for parameter in model.parameters()) - stored,
    )
