"""Keep P and Q orthogonal, so that ΔW = PΛQ stays a singular value decomposition and Λ stays comparable.

AdaLoRA (arXiv 2303.10512), equation 4: R(P, Q) = ‖PᵀP − I‖²_F + ‖QQᵀ − I‖²_F. AdaLoRA-QAT (arXiv 2604.01167)
adds 0.003 · L_ortho to the stage-1 loss; stage 2 has no such term.
"""

import torch
from torch import Tensor, nn

from adaloraqat.lowrank.adapters import adapters_of
from adaloraqat.lowrank.svd_adapter import SVDAdapter


def orthogonality(adapter: SVDAdapter) -> Tensor:
    """R(P, Q) of one adapter on its unmasked components, a scalar; 0 exactly when their bases are
    orthonormal.

    Masked components take part in no product: they neither add to R nor receive a gradient from it.
    """
    identity = torch.diag(adapter.mask)  # (r, r)
    left = adapter.P * adapter.mask  # (out, r)
    right = adapter.Q * adapter.mask[:, None]  # (r, in)
    return (left.T @ left - identity).square().sum() + (right @ right.T - identity).square().sum()


def orthogonality_loss(model: nn.Module) -> Tensor:
    """L_ortho: the mean of R(P, Q) over all adapted matrices, a scalar to be weighted by the caller.

    AdaLoRA writes a sum over matrices and the paper does not say which it means. The mean makes one weight
    serve encoders of any depth (for ViT-B the sum is 36 times this).

    Raises:
        ValueError: the model has no adapters, where a silent 0 would hide that the term is missing.
    """
    adapters = adapters_of(model).values()
    if not adapters:
        raise ValueError(
            "the model has no adapters, so it has no orthogonality loss: call add_adapters first"
        )
    return torch.stack([orthogonality(adapter) for adapter in adapters]).mean()
