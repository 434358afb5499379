"""Stage 1: SVD adapters on q, k and v of a SAM encoder, one rank budget over them all (docs/lowrank.md)."""

from adaloraqat.lowrank.adapted_qkv import PROJECTIONS, AdaptedQKV
from adaloraqat.lowrank.adapters import (
    adapted_layers,
    adapted_width,
    adapters_of,
    add_adapters,
    capped_rank,
    merge_adapters,
    scaled_ranks,
    set_ranks,
)
from adaloraqat.lowrank.counts import TrainableCount, count_trainable
from adaloraqat.lowrank.orthogonality import orthogonality, orthogonality_loss
from adaloraqat.lowrank.peft_format import save_peft
from adaloraqat.lowrank.rank_allocator import RankAllocator
from adaloraqat.lowrank.relative_update import adaptation_warnings, relative_update
from adaloraqat.lowrank.remove import remove_pruned
from adaloraqat.lowrank.svd_adapter import SVDAdapter

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
