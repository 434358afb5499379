"""TinyViT as LiteMedSAM and MobileSAM publish it: tensor names, shapes, and the arithmetic, plainly.

Names and shapes follow `tiny_vit_sam.py` of bowang-lab/MedSAM (branch LiteMedSAM) and
ChaoningZhang/MobileSAM, constructor by constructor; nothing here comes from the code under test.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from adaloraqat.models.lite_medsam_architecture import LITE_MEDSAM


@dataclass(frozen=True)
class PublishedTinyViT:
    """The constructor's arguments; `kernel` 1 is LiteMedSAM's patch embedding, 3 MobileSAM's."""

    channels: int = 3
    dims: tuple[int, ...] = LITE_MEDSAM.embed_dims
    depths: tuple[int, ...] = LITE_MEDSAM.depths
    heads: tuple[int, ...] = LITE_MEDSAM.num_heads
    windows: tuple[int, ...] = LITE_MEDSAM.window_sizes
    kernel: int = 1
    out: int = 256

    def shapes(self) -> dict[str, tuple[int, ...]]:
        d, k = self.dims, self.kernel
        shapes = conv("patch_embed.seq.0", self.channels, d[0] // 2, k)
        shapes |= conv("patch_embed.seq.2", d[0] // 2, d[0], k)
        for i in range(self.depths[0]):
            block = f"layers.0.blocks.{i}"
            shapes |= conv(f"{block}.conv1", d[0], 4 * d[0], 1)
            shapes |= conv(f"{block}.conv2", 1, 4 * d[0], 3)  # one input channel a group
            shapes |= conv(f"{block}.conv3", 4 * d[0], d[0], 1)
        for stage in (1, 2, 3):
            for i in range(self.depths[stage]):
                shapes |= self._block(f"layers.{stage}.blocks.{i}", stage)
        for stage in range(3):
            name = f"layers.{stage}.downsample"
            shapes |= conv(f"{name}.conv1", d[stage], d[stage + 1], 1)
            shapes |= conv(f"{name}.conv2", 1, d[stage + 1], 3)
            shapes |= conv(f"{name}.conv3", d[stage + 1], d[stage + 1], 1)
        shapes["neck.0.weight"] = (self.out, d[3], 1, 1)
        shapes["neck.2.weight"] = (self.out, self.out, 3, 3)
        shapes |= {f"neck.{n}.{p}": (self.out,) for n in (1, 3) for p in ("weight", "bias")}
        return {f"image_encoder.{name}": shape for name, shape in shapes.items()}

    def _block(self, name: str, stage: int) -> dict[str, tuple[int, ...]]:
        d = self.dims[stage]
        shapes = {f"{name}.attn.attention_biases": (self.heads[stage], self.windows[stage] ** 2)}
        shapes |= {f"{name}.{part}.norm.{p}": (d,) for part in ("attn", "mlp") for p in ("weight", "bias")}
        shapes |= dense(f"{name}.attn.qkv", d, 3 * d) | dense(f"{name}.attn.proj", d, d)
        shapes |= dense(f"{name}.mlp.fc1", d, 4 * d) | dense(f"{name}.mlp.fc2", 4 * d, d)
        return shapes | conv(f"{name}.local_conv", 1, d, 3)

    def weights(self, seed: int = 0) -> dict[str, torch.Tensor]:
        """Draw every tensor anew, so that any two swapped ones give another answer."""
        generator = torch.Generator().manual_seed(seed)
        state = {}
        for name, shape in self.shapes().items():
            if name.endswith("num_batches_tracked"):
                state[name] = torch.tensor(7)
                continue
            fan_in = math.prod(shape[1:]) if len(shape) > 1 else 16
            drawn = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
            if name.endswith("running_var"):
                drawn = drawn.abs() + 0.5
            elif len(shape) == 1 and name.endswith("weight"):
                drawn = drawn + 1
            elif name.endswith("attention_biases"):
                drawn = torch.randn(shape, generator=generator)
            state[name] = drawn
        return state

    def embed(self, w: dict, image: torch.Tensor) -> torch.Tensor:
        """(C, S, S) -> (out, g, g), in evaluation mode."""
        w = {name.removeprefix("image_encoder."): tensor for name, tensor in w.items()}
        stride, pad = (1, 0) if self.kernel == 1 else (2, 1)
        x = F.gelu(convolved(w, "patch_embed.seq.0", image[None], stride, pad))
        x = convolved(w, "patch_embed.seq.2", x, stride, pad)
        for stage in range(4):
            for i in range(self.depths[stage]):
                name = f"layers.{stage}.blocks.{i}"
                x = self._attend_and_mix(w, name, x, stage) if stage else bottleneck(w, name, x)
            if stage < 3:
                name, width = f"layers.{stage}.downsample", self.dims[stage + 1]
                x = F.gelu(convolved(w, f"{name}.conv1", x))
                merge = 1 if width in (320, 448, 576) else 2  # as published
                x = F.gelu(convolved(w, f"{name}.conv2", x, merge, 1, width))
                x = convolved(w, f"{name}.conv3", x)
        x = F.conv2d(x, w["neck.0.weight"])
        x = channel_norm(x, w["neck.1.weight"], w["neck.1.bias"])
        x = F.conv2d(x, w["neck.2.weight"], padding=1)
        return channel_norm(x, w["neck.3.weight"], w["neck.3.bias"])[0]

    def _attend_and_mix(self, w: dict, name: str, x: torch.Tensor, stage: int) -> torch.Tensor:
        d, n = self.dims[stage], self.windows[stage]
        side = x.shape[-1]
        whole = -(-side // n) * n
        padded = torch.zeros(whole, whole, d)
        padded[:side, :side] = x[0].permute(1, 2, 0)
        for top in range(0, whole, n):
            for left in range(0, whole, n):
                there = (slice(top, top + n), slice(left, left + n))
                tokens = padded[there].reshape(n * n, d).clone()
                padded[there] = self._attention(w, f"{name}.attn", tokens, stage).reshape(n, n, d)
        x = x + padded[:side, :side].permute(2, 0, 1)[None]
        x = convolved(w, f"{name}.local_conv", x, 1, 1, d)
        tokens = x[0].permute(1, 2, 0)
        hidden = layer_norm(w, f"{name}.mlp.norm", tokens)
        hidden = F.gelu(hidden @ w[f"{name}.mlp.fc1.weight"].T + w[f"{name}.mlp.fc1.bias"])
        tokens = tokens + hidden @ w[f"{name}.mlp.fc2.weight"].T + w[f"{name}.mlp.fc2.bias"]
        return tokens.permute(2, 0, 1)[None]

    def _attention(self, w: dict, name: str, tokens: torch.Tensor, stage: int) -> torch.Tensor:
        heads, n = self.heads[stage], self.windows[stage]
        size = self.dims[stage] // heads
        fused = layer_norm(w, f"{name}.norm", tokens) @ w[f"{name}.qkv.weight"].T + w[f"{name}.qkv.bias"]
        out = []
        for head in range(heads):
            own = fused[:, 3 * size * head : 3 * size * (head + 1)]  # q, k and v of this head
            q, k, v = own[:, :size], own[:, size : 2 * size], own[:, 2 * size :]
            scores = q @ k.T / math.sqrt(size)
            for one in range(n * n):
                for other in range(n * n):
                    rows, columns = abs(one // n - other // n), abs(one % n - other % n)
                    scores[one, other] += w[f"{name}.attention_biases"][head, rows * n + columns]
            out.append(scores.softmax(-1) @ v)
        return torch.cat(out, dim=1) @ w[f"{name}.proj.weight"].T + w[f"{name}.proj.bias"]


def conv(name: str, inputs: int, outputs: int, kernel: int) -> dict[str, tuple[int, ...]]:
    """Conv2d_BN: a convolution `c` without bias and a batch norm `bn`."""
    shapes: dict[str, tuple[int, ...]] = {f"{name}.c.weight": (outputs, inputs, kernel, kernel)}
    shapes |= {f"{name}.bn.{p}": (outputs,) for p in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{name}.bn.num_batches_tracked": ()}


def dense(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def convolved(w: dict, name: str, x: torch.Tensor, stride: int = 1, pad: int = 0, groups: int = 1):
    x = F.conv2d(x, w[f"{name}.c.weight"], stride=stride, padding=pad, groups=groups)
    mean, variance = w[f"{name}.bn.running_mean"], w[f"{name}.bn.running_var"]
    x = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    return x * w[f"{name}.bn.weight"][:, None, None] + w[f"{name}.bn.bias"][:, None, None]


def bottleneck(w: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    hidden = F.gelu(convolved(w, f"{name}.conv1", x))
    hidden = F.gelu(convolved(w, f"{name}.conv2", hidden, 1, 1, hidden.shape[1]))
    return F.gelu(x + convolved(w, f"{name}.conv3", hidden))


def channel_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(1, keepdim=True)
    normed = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    return normed * weight[:, None, None] + bias[:, None, None]


def layer_norm(w: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)
