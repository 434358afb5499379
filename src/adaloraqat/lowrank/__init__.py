"""Stage 1: SVD adapters on q, k and v of a SAM encoder, one rank budget over them all (docs/lowrank.md)."""

from adaloraqat.lowrank.adalora import (
    TrainableCount,
    adapted_layers,
    adapted_width,
    adapters_of,
    add_adapters,
    capacities,
    capped_rank,
    count_trainable,
    merge_adapters,
    remove_pruned,
    scaled_ranks,
    set_ranks,
)
from adaloraqat.lowrank.adalora_layer import PROJECTIONS, AdaptedQKV, SVDAdapter
from adaloraqat.lowrank.orthogonality import (
    adaptation_warnings,
    orthogonality,
    orthogonality_loss,
    relative_update,
)
from adaloraqat.lowrank.peft_format import save_peft
from adaloraqat.lowrank.rank_allocator import RankAllocator

__all__ = [
    "PROJECTIONS",
    "AdaptedQKV",
    "RankAllocator",
    "SVDAdapter",
    "TrainableCount",
    "adaptation_warnings",
    "adapted_layers",
    "adapted_width",
    "adapters_of",
    "add_adapters",
    "capacities",
    "capped_rank",
    "count_trainable",
    "merge_adapters",
    "orthogonality",
    "orthogonality_loss",
    "relative_update",
    "remove_pruned",
    "save_peft",
    "scaled_ranks",
    "set_ranks",
]
