"""Segment Anything as Meta published it, written anew from its module structure: names, shapes, arithmetic.

Nothing here comes from the converter under test. The names and shapes follow segment-anything's
`modeling/image_encoder.py`, `prompt_encoder.py`, `mask_decoder.py`, `transformer.py` and `build_sam.py`; the
arithmetic is the papers', one image and one box at a time, loops where loops are clearer.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))  # test folders are no packages


@dataclass(frozen=True)
class MetaSam:
    """The config of a published model; the defaults have ViT-B's structure and a small width."""

    image_size: int = 256
    patch: int = 16
    dim: int = 48
    depth: int = 12
    heads: int = 12
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    window: int = 14
    channels: int = 3
    prompt: int = 32
    mlp: int = 64
    mask_channels: int = 16
    quality_width: int = 24

    @property
    def grid(self) -> int:
        return self.image_size // self.patch

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {**self._encoder(), **self._prompt_encoder(), **self._decoder()}

    def _encoder(self) -> dict[str, tuple[int, ...]]:
        d, root = self.dim, "image_encoder"
        shapes = {
            f"{root}.pos_embed": (1, self.grid, self.grid, d),
            f"{root}.patch_embed.proj.weight": (d, self.channels, self.patch, self.patch),
            f"{root}.patch_embed.proj.bias": (d,),
        }
        for i in range(self.depth):
            block = f"{root}.blocks.{i}"
            side = self.grid if i in self.global_blocks else self.window
            for axis in "hw":
                shapes[f"{block}.attn.rel_pos_{axis}"] = (2 * side - 1, d // self.heads)
            shapes |= {f"{block}.norm{n}.{p}": (d,) for n in (1, 2) for p in ("weight", "bias")}
            shapes |= linear(f"{block}.attn.qkv", d, 3 * d) | linear(f"{block}.attn.proj", d, d)
            shapes |= linear(f"{block}.mlp.lin1", d, 4 * d) | linear(f"{block}.mlp.lin2", 4 * d, d)
        shapes[f"{root}.neck.0.weight"] = (self.prompt, d, 1, 1)
        shapes[f"{root}.neck.2.weight"] = (self.prompt, self.prompt, 3, 3)
        shapes |= {f"{root}.neck.{n}.{p}": (self.prompt,) for n in (1, 3) for p in ("weight", "bias")}
        return shapes

    def _prompt_encoder(self) -> dict[str, tuple[int, ...]]:
        root, p, m = "prompt_encoder", self.prompt, self.mask_channels
        return {
            f"{root}.pe_layer.positional_encoding_gaussian_matrix": (2, p // 2),
            **{f"{root}.point_embeddings.{i}.weight": (1, p) for i in range(4)},
            f"{root}.not_a_point_embed.weight": (1, p),
            f"{root}.no_mask_embed.weight": (1, p),
            f"{root}.mask_downscaling.0.weight": (m // 4, 1, 2, 2),
            f"{root}.mask_downscaling.0.bias": (m // 4,),
            f"{root}.mask_downscaling.1.weight": (m // 4,),
            f"{root}.mask_downscaling.1.bias": (m // 4,),
            f"{root}.mask_downscaling.3.weight": (m, m // 4, 2, 2),
            f"{root}.mask_downscaling.3.bias": (m,),
            f"{root}.mask_downscaling.4.weight": (m,),
            f"{root}.mask_downscaling.4.bias": (m,),
            f"{root}.mask_downscaling.6.weight": (p, m, 1, 1),
            f"{root}.mask_downscaling.6.bias": (p,),
        }

    def _decoder(self) -> dict[str, tuple[int, ...]]:
        root, p = "mask_decoder", self.prompt
        shapes = {f"{root}.iou_token.weight": (1, p), f"{root}.mask_tokens.weight": (4, p)}
        for i in range(2):
            layer = f"{root}.transformer.layers.{i}"
            shapes |= attention(f"{layer}.self_attn", p, p)
            shapes |= attention(f"{layer}.cross_attn_token_to_image", p, p // 2)
            shapes |= attention(f"{layer}.cross_attn_image_to_token", p, p // 2)
            shapes |= linear(f"{layer}.mlp.lin1", p, self.mlp) | linear(f"{layer}.mlp.lin2", self.mlp, p)
            shapes |= {f"{layer}.norm{n}.{q}": (p,) for n in (1, 2, 3, 4) for q in ("weight", "bias")}
        shapes |= attention(f"{root}.transformer.final_attn_token_to_image", p, p // 2)
        shapes |= {f"{root}.transformer.norm_final_attn.{q}": (p,) for q in ("weight", "bias")}
        shapes |= {
            f"{root}.output_upscaling.0.weight": (p, p // 4, 2, 2),
            f"{root}.output_upscaling.0.bias": (p // 4,),
            f"{root}.output_upscaling.1.weight": (p // 4,),
            f"{root}.output_upscaling.1.bias": (p // 4,),
            f"{root}.output_upscaling.3.weight": (p // 4, p // 8, 2, 2),
            f"{root}.output_upscaling.3.bias": (p // 8,),
        }
        for i in range(4):
            head = f"{root}.output_hypernetworks_mlps.{i}.layers"
            shapes |= linear(f"{head}.0", p, p) | linear(f"{head}.1", p, p) | linear(f"{head}.2", p, p // 8)
        head, w = f"{root}.iou_prediction_head.layers", self.quality_width
        return shapes | linear(f"{head}.0", p, w) | linear(f"{head}.1", w, w) | linear(f"{head}.2", w, 4)

    def weights(self, seed: int = 0) -> dict[str, torch.Tensor]:
        """Draw every tensor anew, so that any two swapped ones give another answer."""
        generator = torch.Generator().manual_seed(seed)
        state = {}
        for name, shape in self.shapes().items():
            fan_in = math.prod(shape[1:]) if len(shape) > 1 else 4
            scale = 1.0 if "embed" in name or "token" in name or "rel_pos" in name else fan_in**-0.5
            state[name] = scale * torch.randn(shape, generator=generator)
            if len(shape) == 1 and name.endswith("weight"):
                state[name] += 1  # the gain of a normalisation
        return state

    def answer(self, w: dict, image: torch.Tensor, box: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return embedding (D, g, g), logits (4g, 4g) and quality () of one image (C, S, S), one box (4,)."""
        embedding = self._embed(w, image)
        return embedding, *self._decode(w, embedding, box)

    def _embed(self, w: dict, image: torch.Tensor) -> torch.Tensor:
        root = "image_encoder"
        x = F.conv2d(image[None], *pair(w, f"{root}.patch_embed.proj"), stride=self.patch)[0]
        x = x.permute(1, 2, 0) + w[f"{root}.pos_embed"][0]  # (g, g, dim)
        for i in range(self.depth):
            block = f"{root}.blocks.{i}"
            side = self.grid if i in self.global_blocks else self.window
            x = x + self._by_windows(w, block, normed(w, f"{block}.norm1", x, 1e-6), side)
            hidden = F.gelu(applied(w, f"{block}.mlp.lin1", normed(w, f"{block}.norm2", x, 1e-6)))
            x = x + applied(w, f"{block}.mlp.lin2", hidden)
        x = x @ w[f"{root}.neck.0.weight"][:, :, 0, 0].T
        x = normed(w, f"{root}.neck.1", x, 1e-6).permute(2, 0, 1)
        x = F.conv2d(x[None], w[f"{root}.neck.2.weight"], padding=1)[0]
        return normed(w, f"{root}.neck.3", x.permute(1, 2, 0), 1e-6).permute(2, 0, 1)

    def _by_windows(self, w: dict, block: str, x: torch.Tensor, side: int) -> torch.Tensor:
        """Attend within each window; the image is padded with zeros to whole windows."""
        whole = -(-self.grid // side) * side
        padded = torch.zeros(whole, whole, self.dim)
        padded[: self.grid, : self.grid] = x
        for top in range(0, whole, side):
            for left in range(0, whole, side):
                there = (slice(top, top + side), slice(left, left + side))
                padded[there] = self._attend(w, f"{block}.attn", padded[there].clone())
        return padded[: self.grid, : self.grid]

    def _attend(self, w: dict, name: str, x: torch.Tensor) -> torch.Tensor:
        """Attention over one square (n, n, dim), head by head, with relative positions by plain indexing."""
        n, size = x.shape[0], self.dim // self.heads
        tokens = x.reshape(n * n, self.dim)
        weight, bias = pair(w, f"{name}.qkv")
        q, k, v = (
            tokens @ weight[s : s + self.dim].T + bias[s : s + self.dim] for s in (0, self.dim, 2 * self.dim)
        )
        row, column = torch.arange(n * n) // n, torch.arange(n * n) % n
        out = torch.empty_like(tokens)
        for head in range(self.heads):
            part = slice(head * size, (head + 1) * size)
            scores = q[:, part] @ k[:, part].T / math.sqrt(size)
            for axis, place in (("h", row), ("w", column)):
                by_offset = q[:, part] @ w[f"{name}.rel_pos_{axis}"].T  # (n², 2n - 1)
                scores = scores + by_offset.gather(1, place[:, None] - place[None, :] + n - 1)
            out[:, part] = scores.softmax(-1) @ v[:, part]
        return applied(w, f"{name}.proj", out).reshape(n, n, self.dim)

    def _positions(self, w: dict, points: torch.Tensor) -> torch.Tensor:
        """Encode points (..., 2) in [0, 1], x first."""
        frequencies = w["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
        angles = 2 * math.pi * ((2 * points - 1) @ frequencies)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def _decode(self, w: dict, embedding: torch.Tensor, box: torch.Tensor) -> tuple[torch.Tensor, ...]:
        corners = self._positions(w, (box.reshape(2, 2) + 0.5) / self.image_size)
        corners = corners + torch.cat([w[f"prompt_encoder.point_embeddings.{i}.weight"] for i in (2, 3)])
        prompts = torch.cat(
            [w["mask_decoder.iou_token.weight"], w["mask_decoder.mask_tokens.weight"], corners]
        )
        centres = (torch.arange(self.grid) + 0.5) / self.grid
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        where = self._positions(w, torch.stack([x, y], dim=-1)).reshape(-1, self.prompt)
        pixels = (
            embedding.permute(1, 2, 0).reshape(-1, self.prompt) + w["prompt_encoder.no_mask_embed.weight"]
        )
        tokens, pixels = self._two_ways(w, prompts, pixels, where)
        square = pixels.T.reshape(1, self.prompt, self.grid, self.grid)
        up = F.conv_transpose2d(square, *pair(w, "mask_decoder.output_upscaling.0"), stride=2)
        up = normed(w, "mask_decoder.output_upscaling.1", up.permute(0, 2, 3, 1), 1e-6).permute(0, 3, 1, 2)
        up = F.conv_transpose2d(F.gelu(up), *pair(w, "mask_decoder.output_upscaling.3"), stride=2)
        kernel = perceptron(w, "mask_decoder.output_hypernetworks_mlps.0", tokens[1])
        logits = torch.einsum("c,cyx->yx", kernel, F.gelu(up)[0])
        return logits, perceptron(w, "mask_decoder.iou_prediction_head", tokens[0])[0]

    def _two_ways(self, w: dict, prompts, pixels, where) -> tuple[torch.Tensor, torch.Tensor]:
        root, tokens, eps = "mask_decoder.transformer", prompts, 1e-5
        for i in range(2):
            layer = f"{root}.layers.{i}"
            if i == 0:
                tokens = attended(w, f"{layer}.self_attn", tokens, tokens, tokens)
            else:
                asking = tokens + prompts
                tokens = tokens + attended(w, f"{layer}.self_attn", asking, asking, tokens)
            tokens = normed(w, f"{layer}.norm1", tokens, eps)
            name = f"{layer}.cross_attn_token_to_image"
            tokens = tokens + attended(w, name, tokens + prompts, pixels + where, pixels)
            tokens = normed(w, f"{layer}.norm2", tokens, eps)
            tokens = tokens + applied(w, f"{layer}.mlp.lin2", applied(w, f"{layer}.mlp.lin1", tokens).relu())
            tokens = normed(w, f"{layer}.norm3", tokens, eps)
            name = f"{layer}.cross_attn_image_to_token"
            pixels = pixels + attended(w, name, pixels + where, tokens + prompts, tokens)
            pixels = normed(w, f"{layer}.norm4", pixels, eps)
        name = f"{root}.final_attn_token_to_image"
        tokens = tokens + attended(w, name, tokens + prompts, pixels + where, pixels)
        return normed(w, f"{root}.norm_final_attn", tokens, eps), pixels


def linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def attention(name: str, outer: int, inner: int) -> dict[str, tuple[int, ...]]:
    shapes = linear(f"{name}.out_proj", inner, outer)
    for projection in "qkv":
        shapes |= linear(f"{name}.{projection}_proj", outer, inner)
    return shapes


def pair(w: dict, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return w[f"{name}.weight"], w[f"{name}.bias"]


def applied(w: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    weight, bias = pair(w, name)
    return x @ weight.T + bias


def normed(w: dict, name: str, x: torch.Tensor, eps: float) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    weight, bias = pair(w, name)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias


def perceptron(w: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    hidden = applied(w, f"{name}.layers.1", applied(w, f"{name}.layers.0", x).relu()).relu()
    return applied(w, f"{name}.layers.2", hidden)


def attended(w: dict, name: str, q, k, v, heads: int = 8) -> torch.Tensor:
    q, k, v = (applied(w, f"{name}.{p}_proj", x) for p, x in (("q", q), ("k", k), ("v", v)))
    size = q.shape[-1] // heads
    parts = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        parts.append((q[:, part] @ k[:, part].T / math.sqrt(size)).softmax(-1) @ v[:, part])
    return applied(w, f"{name}.out_proj", torch.cat(parts, dim=-1))


@pytest.fixture(scope="session")
def meta_sam() -> type[MetaSam]:
    return MetaSam


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Many small products on few shared cores: threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def meta_state(meta_sam):
    return meta_sam(image_size=64, patch=8, window=4, depth=2, heads=4, global_blocks=(1,)).weights()
