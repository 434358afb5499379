"""AdaLoRA's layers: a low-rank update as a singular value decomposition; the fused qkv that carries three.

ΔW = P · diag(Λ ∘ m) · Q: AdaLoRA (Zhang et al., ICLR 2023, arXiv 2303.10512), equation 3, as used by
AdaLoRA-QAT (arXiv 2604.01167).
"""

from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RowLayout = Literal["thirds", "heads"]
"""How q, k and v share the rows of the fused weight.

"thirds" is SAM's: all rows of q, then of k, then of v. "heads" is TinyViT's: q, k and v of the first head,
then of the second. Only `AdaptedQKV.rows` and `AdaptedQKV.fuse` know the difference.
"""

PROJECTIONS = ("q", "k", "v")


class SVDAdapter(nn.Module):
    """A trainable update of one (out, in) weight matrix.

    Attributes:
        P: (out, r) parameter, left singular vectors; its columns start orthonormal.
        singular_values: (r,) parameter Λ; starts at zero, so that ΔW = 0 exactly before the first step.
        Q: (r, in) parameter, right singular vectors; its rows start orthonormal.
        mask: (r,) buffer m of ones and zeros; a zero switches a component off for good.

    The mask multiplies Λ in the forward pass. A masked component therefore receives a zero gradient in P, Λ
    and Q, and whatever an optimiser's momentum or weight decay still does to its stored values has no effect
    on ΔW.
    """

    P: nn.Parameter
    singular_values: nn.Parameter
    Q: nn.Parameter
    mask: Tensor

    def __init__(
        self,
        out_features: int,
        in_features: int,
        rank: int,
        generator: torch.Generator,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Make an adapter of `rank` components (0 is allowed) with bases drawn from `generator` (a CPU one).

        Raises:
            ValueError: `rank` is negative or above min(out_features, in_features), where no orthonormal bases
                of that size exist.
        """
        super().__init__()
        if not 0 <= rank <= min(out_features, in_features):
            raise ValueError(f"rank {rank} does not fit a matrix of {out_features} x {in_features}")
        left = _orthonormal_columns(out_features, rank, generator)
        right = _orthonormal_columns(in_features, rank, generator)
        self.P = nn.Parameter(left.to(device=device, dtype=dtype))
        self.singular_values = nn.Parameter(torch.zeros(rank, device=device, dtype=dtype))
        self.Q = nn.Parameter(right.T.contiguous().to(device=device, dtype=dtype))
        self.register_buffer("mask", torch.ones(rank, device=device, dtype=dtype))

    @property
    def capacity(self) -> int:
        """Number of components stored, masked ones included."""
        return self.singular_values.numel()

    @property
    def rank(self) -> int:
        """Number of unmasked components (on the meta device, where masks hold nothing, all)."""
        if self.mask.is_meta:
            return self.capacity
        return int(self.mask.count_nonzero())

    def active_values(self) -> Tensor:
        """Λ ∘ m, (r,): the singular values that take part in ΔW."""
        return self.singular_values * self.mask

    def delta_weight(self) -> Tensor:
        """ΔW = P · diag(Λ ∘ m) · Q, (out, in)."""
        return (self.P * self.active_values()) @ self.Q  # (out, r) @ (r, in)

    def extra_repr(self) -> str:
        """Say shape and rank when the module is printed."""
        return f"{self.P.shape[0]} x {self.Q.shape[1]}, capacity={self.capacity}"


class AdaptedQKV(nn.Module):
    """A frozen fused qkv, (3d, in), plus ΔW of rank r_q, r_k and r_v on its q, k and v rows.

    The forward pass is ONE linear map with the effective weight W + ΔW rather than two maps added up. So with
    Λ = 0 it equals its base bit for bit, merging changes nothing at all, and quantisation sees the weight
    that will be deployed.

    Attributes:
        base: the frozen `nn.Linear`.
        row_blocks: how many times q, k and v follow each other in its rows: 1, or the number of heads.
        adapters: `nn.ModuleDict` with one `SVDAdapter` under each of "q", "k", "v".
    """

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        generator: torch.Generator,
        row_layout: RowLayout = "thirds",
        heads: int = 1,
    ) -> None:
        """Wrap `base`, freeze it, and draw three adapters of `rank` components from `generator`.

        Args:
            base: the fused projection.
            rank: components of each adapter.
            generator: gives the orthonormal bases.
            row_layout: how q, k and v share its rows.
            heads: attention heads; they matter to the layout "heads" only.

        Raises:
            ValueError: the rows of `base` do not divide into q, k and v (of each head), or `row_layout` is
                unknown.
        """
        super().__init__()
        if row_layout not in get_args(RowLayout):
            raise ValueError(f"unknown row layout {row_layout!r}: 'thirds' and 'heads' are supported")
        blocks = heads if row_layout == "heads" else 1
        if base.out_features % (blocks * len(PROJECTIONS)):
            raise ValueError(f"{base.out_features} rows do not divide into q, k and v of {blocks}")
        self.base = base.requires_grad_(False)
        self.row_blocks = blocks
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

    def rows(self, projection: str, fused: Tensor) -> Tensor:
        """Return the rows (d, ...) of "q", "k" or "v" out of a fused tensor (3d, ...), in order of heads."""
        by_head = fused.unflatten(0, (self.row_blocks, len(PROJECTIONS), -1))  # (heads, 3, d / heads, ...)
        return by_head[:, PROJECTIONS.index(projection)].flatten(0, 1)

    def fuse(self, parts: Sequence[Tensor]) -> Tensor:
        """Put the rows (d, ...) of q, k and v in their places of a fused tensor (3d, ...); undoes `rows`."""
        by_head = [part.unflatten(0, (self.row_blocks, -1)) for part in parts]  # (heads, d / heads, ...)
        return torch.cat(by_head, dim=1).flatten(0, 1)

    def base_rows(self, projection: str) -> Tensor:
        """Return the rows of W that belong to "q", "k" or "v", (d, in)."""
        return self.rows(projection, self.base.weight)

    def delta_weight(self) -> Tensor:
        """ΔW of the fused weight, (3d, in)."""
        return self.fuse([self.adapter(name).delta_weight() for name in PROJECTIONS])

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


def _orthonormal_columns(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """(rows, columns) float64 on the CPU with orthonormal columns, uniformly distributed.

    A Gaussian matrix, its QR decomposition, and the signs of R's diagonal. On the CPU whatever the
    destination: one seed means the same bases on every device.
    """
    gaussian = torch.randn(rows, columns, generator=generator, dtype=torch.float64, device="cpu")
    basis, triangle = torch.linalg.qr(gaussian)
    return basis * torch.where(triangle.diagonal() < 0, -1.0, 1.0)
