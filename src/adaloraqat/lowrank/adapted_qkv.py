"""The fused qkv projection of an attention block with one SVD adapter each for q, k and v."""

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaloraqat.lowrank.svd_adapter import SVDAdapter

RowLayout = Literal["thirds"]
"""How q, k and v share the rows of the fused weight.

"thirds" is SAM's: all rows of q, then of k, then of v. Encoders that interleave them head by head (TinyViT)
will need a second layout, which belongs in `_stacked` and `base_rows` and nowhere else.
"""

PROJECTIONS = ("q", "k", "v")


class AdaptedQKV(nn.Module):
    """A frozen fused qkv, (3d, in), plus ΔW of rank r_q, r_k and r_v on its q, k and v rows.

    The forward pass is ONE linear map with the effective weight W + ΔW rather than two maps added up. So with
    Λ = 0 it equals its base bit for bit, merging changes nothing at all, and quantisation sees the weight
    that will be deployed.

    Attributes:
        base: the frozen `nn.Linear`.
        adapters: `nn.ModuleDict` with one `SVDAdapter` under each of "q", "k", "v".
    """

    def __init__(
        self, base: nn.Linear, rank: int, generator: torch.Generator, row_layout: RowLayout = "thirds"
    ) -> None:
        """Wrap `base`, freeze it, and draw three adapters of `rank` components from `generator`.

        Raises:
            ValueError: the rows of `base` do not divide into q, k and v, or `row_layout` is unknown.
        """
        super().__init__()
        if row_layout != "thirds":
            raise ValueError(f"unknown row layout {row_layout!r}: only 'thirds' is supported")
        if base.out_features % len(PROJECTIONS):
            raise ValueError(f"{base.out_features} rows do not divide into q, k and v")
        self.base = base.requires_grad_(False)
        self.row_layout: RowLayout = row_layout
        rows, weight = base.out_features // len(PROJECTIONS), base.weight
        self.adapters = nn.ModuleDict(
            {
                name: SVDAdapter(
                    rows, base.in_features, rank, generator, device=weight.device, dtype=weight.dtype
                )
                for name in PROJECTIONS
            }
        )

    @property
    def in_features(self) -> int:
        """Width of the input."""
        return self.base.in_features

    @property
    def out_features(self) -> int:
        """Width of q, k and v together, 3d."""
        return self.base.out_features

    @property
    def bias(self) -> Tensor | None:
        """The bias of the base, (3d,), frozen."""
        return self.base.bias

    def adapter(self, projection: str) -> SVDAdapter:
        """Return the adapter of "q", "k" or "v"."""
        return cast(SVDAdapter, self.adapters[projection])

    def base_rows(self, projection: str) -> Tensor:
        """Return the rows of W that belong to "q", "k" or "v", (d, in)."""
        return self.base.weight.chunk(len(PROJECTIONS))[PROJECTIONS.index(projection)]

    def delta_weight(self) -> Tensor:
        """ΔW of the fused weight, (3d, in)."""
        return torch.cat([self.adapter(name).delta_weight() for name in PROJECTIONS])

    def effective_weight(self) -> Tensor:
        """W + ΔW, (3d, in): the weight this layer computes with."""
        return self.base.weight + self.delta_weight()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in) to (..., 3d)."""
        return F.linear(inputs, self.effective_weight(), self.bias)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return a plain frozen `nn.Linear` of weight W + ΔW, which computes exactly what this layer does."""
        linear = nn.Linear(
            self.in_features,
            self.out_features,
            bias=self.bias is not None,
            device="meta",
            dtype=self.base.weight.dtype,
        )
        linear.weight = nn.Parameter(self.effective_weight(), requires_grad=False)
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias.detach().clone(), requires_grad=False)
        return linear.train(self.training)
