"""One low-rank update in the form of a singular value decomposition: ΔW = P · diag(Λ ∘ m) · Q.

AdaLoRA (Zhang et al., ICLR 2023, arXiv 2303.10512), equation 3, as used by AdaLoRA-QAT (arXiv 2604.01167).
"""

import torch
from torch import Tensor, nn


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


def _orthonormal_columns(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """(rows, columns) float64 on the CPU with orthonormal columns, uniformly distributed.

    A Gaussian matrix, its QR decomposition, and the signs of R's diagonal. On the CPU whatever the
    destination: one seed means the same bases on every device.
    """
    gaussian = torch.randn(rows, columns, generator=generator, dtype=torch.float64, device="cpu")
    basis, triangle = torch.linalg.qr(gaussian)
    return basis * torch.where(triangle.diagonal() < 0, -1.0, 1.0)
