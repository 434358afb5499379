"""Attention written out: its two products as modules of their own, which a precision policy can name.

scores = q · kᵀ and mixture = softmax(scores) · v multiply activations with activations: there is no weight,
so without a module there would be nothing that could be quantised.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamAttention, SamVisionAttention

PRODUCTS = ("scores", "mixture")
"""Names of the two products within an attention module."""


class MatrixProduct(nn.Module):
    """left (..., m, k) times right (..., k, n)."""

    quantized: ClassVar[bool] = False

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return (..., m, n)."""
        return left @ right


class WrittenOutAttention(SamAttention):
    """SAM's decoder attention, its products in the submodules `scores` and `mixture` (see `write_out`).

    Attributes:
        varying: whether the numbers of tokens and of others may vary in an exported graph.
    """

    varying: ClassVar[tuple[bool, bool]] = (False, False)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **_: Any) -> tuple[Tensor, None]:
        """Attend from (B, N, tokens, D) to (B, N, others, D); no weights are returned.

        Every size but the first and those that are `varying` is a plain number, so that in an exported graph
        the boxes may be the batch.
        """
        own, others = self.varying
        sets, tokens = int(query.shape[1]), counted(query.shape[2], own)
        queries = self._split(self.q_proj(query), own) * self.scaling
        keys, values = self._split(self.k_proj(key), others), self._split(self.v_proj(value), others)
        weights = self.scores(queries, keys.transpose(-2, -1)).softmax(-1)  # (B · N, heads, tokens, others)
        attended = self.mixture(weights, values).transpose(1, 2)  # (B · N, tokens, heads, D / heads)
        return self.out_proj(attended.reshape(-1, sets, tokens, self.internal_dim)), None

    def _split(self, projected: Tensor, varying: bool) -> Tensor:
        """(B, N, tokens, D) -> (B · N, heads, tokens, D / heads)."""
        heads, tokens = self.num_attention_heads, counted(projected.shape[2], varying)
        return projected.reshape(-1, tokens, heads, self.internal_dim // heads).transpose(1, 2)


class WrittenOutVisionAttention(SamVisionAttention):
    """SAM's encoder attention, its products in the submodules `scores` and `mixture` (see `write_out`)."""

    def forward(self, hidden_states: Tensor, output_attentions: bool | None = None) -> tuple[Tensor, None]:
        """Attend within (windows, h, w, D); no weights are returned."""
        height, width, _ = (int(size) for size in hidden_states.shape[1:])
        heads, tokens = self.num_attention_heads, height * width
        fused = self.qkv(hidden_states)
        fused = fused.reshape(-1, tokens, 3, heads, int(fused.shape[-1]) // 3 // heads)
        query, key, value = (
            part.reshape(-1, tokens, int(part.shape[-1]))  # (windows · heads, tokens, size)
            for part in fused.permute(2, 0, 3, 1, 4).unbind(0)
        )
        scores = self.scores(query * self.scale, key.transpose(-2, -1))
        if self.use_rel_pos:
            positions = self.get_decomposed_rel_pos(
                query, self.rel_pos_h, self.rel_pos_w, (height, width), (height, width)
            )
            scores = scores + positions.reshape_as(scores)
        mixed = self.mixture(scores.softmax(-1), value)
        joined = mixed.reshape(-1, heads, tokens, int(mixed.shape[-1])).transpose(1, 2)
        return self.proj(joined.reshape(-1, height, width, heads * int(mixed.shape[-1]))), None


def counted(size: int, varying: bool) -> int:
    """Return a size of a tensor that is traced: as it is where it may vary in the graph, else a number."""
    return size if varying else int(size)


def is_attention(module: nn.Module) -> bool:
    """Whether `module` is an attention whose products can be, or are, modules of their own."""
    return isinstance(module, SamAttention | SamVisionAttention) or hasattr(module, PRODUCTS[0])


def write_out(attention: nn.Module) -> None:
    """Give one of SAM's attentions its products as modules, in place; it computes what it computed."""
    if hasattr(attention, PRODUCTS[0]):
        return
    vars(attention)["fused_class"] = type(attention)
    decoder = isinstance(attention, SamAttention)
    attention.__class__ = WrittenOutAttention if decoder else WrittenOutVisionAttention
    for name in PRODUCTS:
        attention.add_module(name, MatrixProduct())


def fuse_again(attention: nn.Module) -> None:
    """Undo `write_out`."""
    attention.__class__ = vars(attention).pop("fused_class")
    for name in PRODUCTS:
        del attention._modules[name]
