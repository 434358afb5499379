"""The two graphs a bundle holds, as modules the exporter can trace.

Both are the transformers model itself, restated only where its form costs something in a file or an engine:
positional tables come in a compact form, windows that fit are not padded, boxes are the batch, and of the
mask decoder only the one mask that a box prompt asks for is computed. Modules keep their names in `SamModel`,
so that a tensor in a file is named like the module it belongs to.
"""

from __future__ import annotations

import math
import types
from typing import Any

import torch
from torch import Tensor, nn
from transformers import SamModel
from transformers.models.sam.modeling_sam import SamAttention, SamVisionLayer

from adaloraqat.models.sam import PromptFreeModel
from adaloraqat.models.tiny_vit import WindowAttention
from adaloraqat.quantize.storage import write_out_stored


class EncoderGraph(nn.Module):
    """image (1, C, S, S) -> embedding (1, D, g, g)."""

    def __init__(self, model: SamModel) -> None:
        """Wrap `model`, which is changed: attention written out, relative positions gathered by index."""
        super().__init__()
        self.vision_encoder = model.vision_encoder
        for module in model.vision_encoder.modules():
            if isinstance(module, WindowAttention):
                module.fused = False
        for layer in (m for m in model.vision_encoder.modules() if isinstance(m, SamVisionLayer)):
            write_out_stored(layer.attn)  # no SDPA
            if model.vision_encoder.pos_embed.shape[1] % max(layer.window_size, 1) == 0:
                layer.window_partition = _partition
                layer.window_unpartition = _unpartition
            if layer.attn.use_rel_pos:
                _gather_relative_positions(layer.attn)

    def forward(self, image: Tensor) -> Tensor:
        """Encode one normalised film."""
        return self.vision_encoder(image).last_hidden_state


class DecoderGraph(nn.Module):
    """embedding (1, D, g, g), boxes (N, 4) in model pixels -> logits (N, 4g, 4g), quality (N,).

    `adaloraqat.models.sam.decode` for one image, with the boxes as the batch: no shape but N depends on the
    input.

    A graph of `any_prompt` takes T points in place of a box: `boxes` (N, 2T) are their x and y, one after the
    other, and `labels` (N or 1, T) say what each is, as in SAM's published export: 1 a point on what is
    wanted, 0 one off it, 2 and 3 the corners of a box, -1 the empty point that SAM adds where there is no
    box. A box is T = 2 with labels 2 and 3.
    """

    phase_x: Tensor
    phase_y: Tensor
    frequency_x: Tensor
    frequency_y: Tensor

    def __init__(self, model: SamModel, any_prompt: bool = False) -> None:
        """Wrap `model`, which is changed: its decoder attention is written out."""
        super().__init__()
        for module in model.mask_decoder.modules():
            if isinstance(module, SamAttention):
                write_out_stored(module)
        if any_prompt:
            _vary_tokens(model.mask_decoder.transformer)
        self.prompt_encoder = model.prompt_encoder
        self.mask_decoder = model.mask_decoder
        self.image_size = float(model.config.prompt_encoder_config.image_size)
        grid = int(model.config.prompt_encoder_config.image_embedding_size)
        self.grid = grid
        frequencies = model.shared_image_embedding.positional_embedding.detach().float()  # (2, D/2)
        centres = 2 * (torch.arange(grid, device=frequencies.device) + 0.5) / grid - 1  # (g,), in [-1, 1]
        # The image-wide table (D, g, g) would add 4 MB to a SAM at 1024 px. Its phases are a sum over the two
        # axes: those are constants of the file, and the engine folds sum, sine and cosine when it loads it.
        self.register_buffer(
            "phase_x", (2 * math.pi * centres[:, None] * frequencies[0]).t()[:, None, :].clone()
        )
        self.register_buffer(
            "phase_y", (2 * math.pi * centres[:, None] * frequencies[1]).t()[:, :, None].clone()
        )
        self.register_buffer("frequency_x", frequencies[0].clone())
        self.register_buffer("frequency_y", frequencies[1].clone())

    def forward(
        self, embedding: Tensor, boxes: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Segment what each prompt asks for."""
        tokens = self._tokens(boxes, labels)  # (N, 1, 5 + T, D)
        image = embedding + self.prompt_encoder.no_mask_embed.weight[:, :, None, None]  # (1, D, g, g)
        keys = image.flatten(2).transpose(1, 2).unsqueeze(1)  # (1, 1, g·g, D)
        # Each box changes the image tokens in its own way from the first block on.
        keys = keys + torch.zeros_like(tokens[:, :, :1, :1])  # (N, 1, g·g, D)
        queries, keys = self._transform(tokens, keys)
        mask_embedding = self._upscale(keys)  # (N, D/8, 4g, 4g)
        weights = self.mask_decoder.output_hypernetworks_mlps[0](queries[:, :, 1, :])  # (N, 1, D/8)
        pixels = mask_embedding.reshape(-1, int(mask_embedding.shape[1]), 16 * self.grid**2)
        logits = weights @ pixels  # (N, 1, 16·g·g)
        quality = self.mask_decoder.iou_prediction_head(queries[:, 0, 0, :])[:, 0]  # (N,)
        return logits.reshape(-1, 4 * self.grid, 4 * self.grid), quality

    def _tokens(self, boxes: Tensor, labels: Tensor | None) -> Tensor:
        decoder, prompts = self.mask_decoder, self.prompt_encoder
        count = 2 if labels is None else labels.shape[1]
        points = boxes.reshape(-1 if labels is None else boxes.shape[0], count, 2)
        places = 2 * ((points + 0.5) / self.image_size) - 1  # (N, T, 2)
        phases = 2 * math.pi * (places[..., :1] * self.frequency_x + places[..., 1:] * self.frequency_y)
        sparse = torch.cat([phases.sin(), phases.cos()], dim=-1)  # (N, T, D)
        if labels is None:
            sparse = sparse + torch.cat([prompts.point_embed[2].weight, prompts.point_embed[3].weight])
        else:
            sparse = torch.where(labels[..., None] < 0, sparse.new_zeros(()), sparse)
            kinds = [prompts.not_a_point_embed, *prompts.point_embed]
            sparse = sparse + torch.cat([kind.weight for kind in kinds])[labels + 1]
        output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])  # (5, D)
        output = output.unsqueeze(0) + boxes.new_zeros(boxes.shape[0], 1, 1)  # (N, 5, D)
        return torch.cat([output, sparse], dim=1).unsqueeze(1)

    def _transform(self, tokens: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        positions = self._positions()  # (1, 1, g·g, D)
        transformer = self.mask_decoder.transformer
        queries = tokens
        for layer in transformer.layers:
            queries, keys, _ = layer(
                queries=queries,
                keys=keys,
                query_point_embedding=tokens,
                key_point_embedding=positions,
                attention_similarity=None,
            )
        attended, _ = transformer.final_attn_token_to_image(
            query=queries + tokens, key=keys + positions, value=keys
        )
        return transformer.layer_norm_final_attn(queries + attended), keys

    def _positions(self) -> Tensor:
        phases = self.phase_x + self.phase_y  # (D/2, g, g)
        table = torch.cat([phases.sin(), phases.cos()])  # (D, g, g)
        return table.flatten(1).t()[None, None]

    def _upscale(self, keys: Tensor) -> Tensor:
        decoder = self.mask_decoder
        image = keys.transpose(2, 3).reshape(-1, int(keys.shape[-1]), self.grid, self.grid)  # (N, D, g, g)
        image = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(image)))
        return decoder.activation(decoder.upscale_conv2(image))


class MaskPromptGraph(nn.Module):
    """mask (1, 1, 4g, 4g), logits of an earlier answer -> dense (1, D, g, g), to be added to the embedding.

    The decoder graph adds what stands for no mask; `dense` is SAM's mask embedding without that.
    """

    def __init__(self, model: SamModel) -> None:
        """Wrap `model`."""
        super().__init__()
        self.prompt_encoder = model.prompt_encoder

    def forward(self, mask: Tensor) -> Tensor:
        """Embed one mask."""
        dense: Tensor = self.prompt_encoder.mask_embed(mask)
        return dense - self.prompt_encoder.no_mask_embed.weight[:, :, None, None]


def _vary_tokens(transformer: Any) -> None:
    """Let the number of tokens vary: those of the two-way blocks' modules that tokens pass through."""
    blocks = [(layer.cross_attn_token_to_image, (True, False)) for layer in transformer.layers]
    blocks += [(layer.cross_attn_image_to_token, (False, True)) for layer in transformer.layers]
    blocks += [(layer.self_attn, (True, True)) for layer in transformer.layers]
    for attention, (own, others) in [*blocks, (transformer.final_attn_token_to_image, (True, False))]:
        attention.varying = own, others
        attention.q_proj.varying = attention.out_proj.varying = own
        attention.k_proj.varying = attention.v_proj.varying = others
    for layer in transformer.layers:
        layer.mlp.lin1.varying = layer.mlp.lin2.varying = True


def _partition(tokens: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut (B, h, w, D) into (B·windows, window, window, D); h and w are multiples of the window."""
    height, width, features = (int(size) for size in tokens.shape[1:])
    cut = tokens.reshape(-1, height // window, window, width // window, window, features)
    return cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, window, window, features), (height, width)


def _unpartition(windows: Tensor, window: int, padded: tuple[int, int], _: tuple[int, int]) -> Tensor:
    """Undo `_partition`: (B·windows, window, window, D) -> (B, h, w, D)."""
    height, width = padded
    cut = windows.reshape(-1, height // window, width // window, window, window, int(windows.shape[-1]))
    return cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, int(windows.shape[-1]))


def _gather_relative_positions(attention: Any) -> None:
    """Look the relative positions up by index, without transformers' resizing of tables that already fit.

    The gather stays in the graph: gathered tables would be (q, k, channels), 8.8 MB more for ViT-B.
    """
    for table in ("rel_pos_h", "rel_pos_w"):
        size = getattr(attention, table).shape[0]
        if size % 2 == 0:
            raise ValueError(f"{table} has {size} rows: a table of 2n - 1 relative positions is expected")
    attention.get_rel_pos = types.MethodType(_gathered_positions, attention)


def _gathered_positions(attention: Any, query_size: int, key_size: int, table: Tensor) -> Tensor:
    """Return (n, n, channels) rows of a (2n - 1, channels) table; the blocks of SAM have n = q = k."""
    size = (table.shape[0] + 1) // 2
    places = torch.arange(int(size))
    return table[places[:, None] - places[None, :] + (int(size) - 1)]


class NetworkGraph(nn.Module):
    """image (1, C, S, S) -> embedding (1, 1, n, n), which are the logits themselves."""

    def __init__(self, model: PromptFreeModel) -> None:
        """Wrap `model`."""
        super().__init__()
        self.network = model.network

    def forward(self, image: Tensor) -> Tensor:
        """Segment one normalised film."""
        return self.network(image)


class RepeatGraph(nn.Module):
    """embedding (1, 1, n, n), boxes (N, 4) -> the same logits (N, n, n) for all, quality (N,) of zeros."""

    def forward(self, embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Repeat the logits; the boxes only say how often."""
        zeros = boxes[:, 0] * 0  # (N,)
        return embedding[0] + zeros[:, None, None], zeros
