"""Even channels before quantisation: shift and scale that move from an activation into the weights after it.

One range serves a whole activation, so a channel that is large, or far from zero, costs all others their
steps. Between a layer norm and the linear layer it feeds, every channel can be shifted and scaled for free:
y' = (y - c) / s is the norm's own gain and bias, and W' = W·diag(s), b' = b + W·c undo it. Scales are
SmoothQuant's (Xiao et al., ICML 2023, arXiv 2211.10438, eq. 4), shifts those of Outlier Suppression+ (Wei et
al., EMNLP 2023, arXiv 2304.09145, eq. 3). Attention is linear in its values: what the projection after it
takes is evened in the rows of v.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import SamModel

from adaloraqat.lowrank.adalora_layer import AdaptedQKV
from adaloraqat.models.sam import decode, encode
from adaloraqat.models.tiny_vit import Mlp, WindowAttention

STRENGTH = 0.5
"""SmoothQuant's α: how much of the spread moves from the activation into the weights."""
_SMALLEST = 1e-5  # of a scale: a dead channel stays as it is


@dataclass
class _Spread:
    """Smallest and largest value of each channel, (D,)."""

    low: Tensor | None = None
    high: Tensor | None = None

    def update(self, values: Tensor) -> None:
        rows = values.detach().flatten(0, -2)
        low, high = rows.amin(0), rows.amax(0)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)


def equalize(
    model: SamModel, batches: Iterable[tuple[Tensor, Tensor]], strength: float = STRENGTH
) -> SamModel:
    """Even the channels of every activation that a linear layer of the encoder takes, in place.

    The model answers as before, up to rounding of float32. Do it before `prepare`.

    Args:
        model: a float SAM with a TinyViT encoder; adapters stay adapters (Q takes part of the scale).
        batches: pairs of normalised images (B, C, S, S) and boxes (B, N, 4) in model pixels.
        strength: α in [0, 1]; 0 only shifts.

    Returns:
        the same model.
    """
    sites = list(_sites(model.vision_encoder))
    spreads = [_Spread() for _ in sites]
    training = model.training
    model.eval()
    hooks = [_watch(linear, spread) for (linear, _), spread in zip(sites, spreads, strict=True)]
    try:
        with torch.no_grad():
            for images, boxes in batches:
                decode(model, encode(model, images), boxes)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    with torch.no_grad():
        for (linear, absorb), spread in zip(sites, spreads, strict=True):
            if spread.low is not None and spread.high is not None:
                _even(linear, absorb, spread.low, spread.high, strength)
    return model


Absorb = Callable[[Tensor, Tensor], None]
"""Takes the shift and the scale of each channel, (D,) each, into what makes the activation."""


def _sites(encoder: nn.Module) -> Iterator[tuple[nn.Module, Absorb]]:
    for module in encoder.modules():
        if isinstance(module, WindowAttention):
            yield module.qkv, _norm_absorbs(module.norm)
            yield module.proj, _values_absorb(module)
        elif isinstance(module, Mlp):
            yield module.lin1, _norm_absorbs(module.norm)


def _norm_absorbs(norm: nn.LayerNorm) -> Absorb:
    def absorb(shift: Tensor, scale: Tensor) -> None:
        norm.weight.div_(scale)
        norm.bias.sub_(shift).div_(scale)

    return absorb


def _values_absorb(attention: WindowAttention) -> Absorb:
    """Rows of v; the weights of attention add up to 1, so a shift of v shifts what is mixed alike."""

    def absorb(shift: Tensor, scale: Tensor) -> None:
        qkv, size = attention.qkv, attention.proj.in_features // attention.num_heads
        base = qkv.base if isinstance(qkv, AdaptedQKV) else qkv
        rows = base.weight.unflatten(0, (attention.num_heads, 3, size))[:, 2]  # views of v, head by head
        rows.div_(scale.reshape(attention.num_heads, size, 1))
        bias = base.bias.unflatten(0, (attention.num_heads, 3, size))[:, 2]
        bias.sub_(shift.reshape(bias.shape)).div_(scale.reshape(bias.shape))
        if isinstance(qkv, AdaptedQKV):
            qkv.adapter("v").P.div_(scale[:, None])

    return absorb


def _even(linear: nn.Module, absorb: Absorb, low: Tensor, high: Tensor, strength: float) -> None:
    shift = (low + high) / 2
    reach = ((high - low) / 2).clamp(min=_SMALLEST)  # (in,): largest |y - c|
    weight = linear.effective_weight() if isinstance(linear, AdaptedQKV) else linear.weight
    columns = weight.abs().amax(0).clamp(min=_SMALLEST)
    scale = reach**strength / columns ** (1 - strength) if strength else torch.ones_like(reach)
    scale = scale / scale.log().mean().exp()  # around 1: the weights keep their size
    base = linear.base if isinstance(linear, AdaptedQKV) else linear
    base.bias.add_(weight @ shift)
    base.weight.mul_(scale)
    if isinstance(linear, AdaptedQKV):
        for projection in linear.adapters:
            linear.adapter(projection).Q.mul_(scale)
    absorb(shift, scale)


def _watch(linear: nn.Module, spread: _Spread) -> RemovableHandle:
    return linear.register_forward_pre_hook(lambda module, inputs: spread.update(inputs[0]))
