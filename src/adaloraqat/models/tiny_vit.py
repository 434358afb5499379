"""TinyViT (Wu et al., ECCV 2022, arXiv 2207.10666) as the image encoder of MobileSAM and LiteMedSAM.

Modules carry the published names (`patch_embed.seq`, `layers`, `blocks`, `downsample`, `local_conv`, `c`,
`bn`) but where SAM's encoder has a name for the same thing: `mlp.lin1`, `mlp.lin2`, `neck.conv1`, ... So
precision policies and adapters find them in both. Sizes other than the batch are plain numbers, so that an
exported graph holds no arithmetic on shapes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SamConfig
from transformers.models.sam.modeling_sam import SamVisionEncoderOutput, SamVisionNeck

from adaloraqat.models.attention import MatrixProduct
from adaloraqat.models.frozen_convolution import frozen_convolution
from adaloraqat.models.lite_medsam_architecture import LiteMedSAMArchitecture


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that keeps its statistics while its weight is frozen, in training mode too.

    A frozen encoder would otherwise drift away from its base with every batch that passes through it.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        learns = self.training and self.weight.requires_grad
        if learns and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return F.batch_norm(
            inputs,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            learns,
            0.1 if self.momentum is None else self.momentum,
            self.eps,
        )


class ConvNorm(nn.Module):
    """A convolution without bias and its batch normalisation.

    Attributes:
        c: the convolution; where it carries a bias, the normalisation is folded into it (`fold`).
        bn: the normalisation, or `nn.Identity` when folded.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn: nn.Module = BatchNorm(outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        norm = self.bn
        if isinstance(norm, BatchNorm) and type(self.c) is nn.Conv2d and self._is_passed_through():
            return frozen_convolution(self.c, *_folded(norm), inputs)
        return norm(self.c(inputs))

    def _is_passed_through(self) -> bool:
        """Say whether gradients are wanted of what lies before, and none of this."""
        return torch.is_grad_enabled() and not any(p.requires_grad for p in self.parameters())

    @torch.no_grad()
    def fold(self) -> None:
        """Make the normalisation part of the convolution, in place: its weight is scaled and gets a bias.

        Both compute the same in evaluation mode; from then on the statistics are fixed. Done once.
        """
        norm = self.bn
        if not isinstance(norm, nn.BatchNorm2d):
            return
        gain, bias = _folded(norm)
        self.c.weight.mul_(gain[:, None, None, None])
        self.c.bias = nn.Parameter(bias, requires_grad=self.c.weight.requires_grad)
        self.bn = nn.Identity()


@torch.no_grad()
def _folded(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return gain and bias, (out,) each, that do what a normalisation does by its statistics."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return gain, norm.bias - norm.running_mean * gain


class PatchEmbedding(nn.Module):
    """Two convolutions from the image to the tokens of stage 0: of stride 2 each, or 1×1 on every pixel."""

    def __init__(self, architecture: LiteMedSAMArchitecture) -> None:
        super().__init__()
        width = architecture.embed_dims[0]
        kernel, stride = (1, 1) if architecture.patch_stride == 1 else (3, 2)
        self.seq = nn.Sequential(
            ConvNorm(architecture.channels, width // 2, kernel, stride),
            nn.GELU(),
            ConvNorm(width // 2, width, kernel, stride),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, width, S / stride, S / stride)."""
        return self.seq(image)


class InvertedBottleneck(nn.Module):
    """A block of stage 0 (MBConv): widen, convolve each channel, narrow, add."""

    def __init__(self, width: int, expand_ratio: int) -> None:
        super().__init__()
        hidden = width * expand_ratio
        self.conv1 = ConvNorm(width, hidden, 1)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, width, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        hidden = F.gelu(self.conv2(F.gelu(self.conv1(inputs))))
        return F.gelu(inputs + self.conv3(hidden))


class PatchMerging(nn.Module):
    """From the width of a stage to that of the next, on a grid coarser by `stride`."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs, 1)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = ConvNorm(outputs, outputs, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, out, h / stride, w / stride)."""
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(inputs)))))


class WindowAttention(nn.Module):
    """Attention among the n·n tokens of one window, with a learnt bias for each distance of two tokens.

    Attributes:
        attention_biases: (heads, n·n) parameter; entry dy·n + dx is added to the score of two tokens that lie
            |dy| rows and |dx| columns apart.
        qkv: the fused projection. Its rows stand head by head: q, k and v of the first head, then of the
            second (`qkv_layout`).
        scores, mixture: the two products, where a policy can name them.
        fused: whether scores, softmax and sum are one operator (SDPA) instead of written out, as they always
            are where a product is quantised.
    """

    qkv_layout = "heads"

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.num_heads, self.window = heads, window
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        self.scores, self.mixture = MatrixProduct(), MatrixProduct()
        self.fused = True

    def bias_table(self) -> Tensor:
        """Return the bias of every pair of tokens, (heads, n·n, n·n), gathered along one axis at a time.

        The indices are n·n numbers, not n⁴: so small a constant may stay in an exported file.
        """
        n = self.window
        places = torch.arange(n, device=self.attention_biases.device)
        distance = (places[:, None] - places[None, :]).abs()  # (n, n)
        by_rows = self.attention_biases.reshape(self.num_heads, n, n)[:, distance]  # (heads, y, y', dx)
        table = by_rows[..., distance]  # (heads, y, y', x, x')
        return table.permute(0, 1, 3, 2, 4).reshape(self.num_heads, n * n, n * n)

    def forward(self, tokens: Tensor) -> Tensor:
        """(windows, n·n, width) -> the same shape."""
        count, width = (int(size) for size in tokens.shape[1:])
        size = width // self.num_heads
        fused = self.qkv(self.norm(tokens)).reshape(-1, count, self.num_heads, 3, size)
        query, key, value = fused.permute(3, 0, 2, 1, 4).unbind(0)  # (windows, heads, n·n, size) each
        # On a CPU the fused operator's backward pass in bfloat16 takes as long as all other layers together.
        slow = query.dtype == torch.bfloat16 and query.requires_grad and query.device.type == "cpu"
        if self.fused and not slow and not (self.scores.quantized or self.mixture.quantized):
            mixed = F.scaled_dot_product_attention(query, key, value, self.bias_table()[None])
        else:
            scores = self.scores(query * size**-0.5, key.transpose(-2, -1)) + self.bias_table()
            mixed = self.mixture(scores.softmax(-1), value)
        return self.proj(mixed.transpose(1, 2).reshape(-1, count, width))


class Mlp(nn.Module):
    """Normalisation and the two linear layers after it."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.lin1 = nn.Linear(width, width * ratio)
        self.lin2 = nn.Linear(width * ratio, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) -> the same shape."""
        return self.lin2(F.gelu(self.lin1(self.norm(tokens))))


class WindowBlock(nn.Module):
    """A block of stages 1 to 3: attention within windows, a 3×3 convolution of each channel, an MLP."""

    def __init__(self, width: int, heads: int, window: int, mlp_ratio: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads, window)
        self.local_conv = ConvNorm(width, width, 3, groups=width)
        self.mlp = Mlp(width, mlp_ratio)

    def forward(self, image: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        tokens = image.permute(0, 2, 3, 1)  # (B, h, w, width)
        image = (tokens + self._attend(tokens)).permute(0, 3, 1, 2)
        tokens = self.local_conv(image).permute(0, 2, 3, 1)
        return (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)

    def _attend(self, tokens: Tensor) -> Tensor:
        """(B, h, w, width) -> the same shape; padded with zeros, before the norm, to whole windows."""
        height, width, features = (int(size) for size in tokens.shape[1:])
        n = self.window
        below, right = -height % n, -width % n
        if below or right:
            tokens = F.pad(tokens, (0, 0, 0, right, 0, below))
        rows, columns = (height + below) // n, (width + right) // n
        cut = tokens.reshape(-1, rows, n, columns, n, features).transpose(2, 3)
        attended = self.attn(cut.reshape(-1, n * n, features))
        joined = attended.reshape(-1, rows, columns, n, n, features).transpose(2, 3)
        joined = joined.reshape(-1, rows * n, columns * n, features)
        return joined[:, :height, :width] if below or right else joined


class Stage(nn.Module):
    """Blocks of one width on one grid, and the merging that leads to the next stage (none after the last)."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, image: Tensor) -> Tensor:
        """(B, width, h, w) -> (B, next width, h / stride, w / stride)."""
        image = self.through_blocks(image)
        return image if self.downsample is None else self.downsample(image)

    def through_blocks(self, image: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape: without the merging."""
        for block in self.blocks:
            image = block(image)
        return image


class FineGrid(nn.Module):
    """What brings an embedding to the grid of stage 0: resampled, and corrected by what stage 0 saw there.

    Nearly all of an encoder's work is in the stages on the coarse grid, while an outline is as fine as the
    embedding. So the way of feature pyramids (Lin et al. 2017), behind the neck. The correction starts at
    zero: a model that gets this part answers at first as it did, on a finer grid.
    """

    def __init__(self, stage_width: int, width: int) -> None:
        """Take the widths of stage 0 and of the embedding."""
        super().__init__()
        self.conv1 = ConvNorm(stage_width + width, width, 1)
        self.conv2 = ConvNorm(width, width, 3, groups=width)
        self.conv3 = ConvNorm(width, width, 1)

    def forward(self, embedding: Tensor, stage: Tensor) -> Tensor:
        """(B, D, g, g) and (B, width, h, h) -> (B, D, h, h)."""
        side = int(stage.shape[-1])
        resampled = F.interpolate(embedding, size=(side, side), mode="bilinear", align_corners=False)
        hidden = F.gelu(self.conv1(torch.cat([resampled, stage], dim=1)))
        return resampled + self.conv3(F.gelu(self.conv2(hidden)))


class TinyViT(nn.Module):
    """Image (B, C, S, S) -> `.last_hidden_state` (B, D, g, g), as SAM's vision encoder answers.

    Attributes:
        fine: brings the embedding to the grid of stage 0, or None.
    """

    def __init__(self, architecture: LiteMedSAMArchitecture, config: SamConfig) -> None:
        """Build it; `config` gives the neck, which is SAM's, its widths."""
        super().__init__()
        self.patch_embed = PatchEmbedding(architecture)
        self.layers = nn.ModuleList(_stage(architecture, number) for number in range(4))
        self.neck = SamVisionNeck(config.vision_config)
        self.fine = (
            FineGrid(architecture.embed_dims[0], architecture.prompt_dim) if architecture.fine_grid else None
        )

    def get_input_embeddings(self) -> nn.Module:
        """Return the patch embedding, by the name under which transformers and peft ask for it."""
        return self.patch_embed

    def forward(self, pixel_values: Tensor) -> SamVisionEncoderOutput:
        """Encode normalised model images."""
        image = pixel_values
        for _, part in self.parts():
            image = part(image)
        return SamVisionEncoderOutput(last_hidden_state=image)

    def parts(self) -> list[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
        """Return what the encoder does one after the other: each module, and how it is called.

        With a fine grid that is one part, because what stage 0 saw is wanted again at the end.
        """
        if self.fine is not None:
            return [(self, self._on_fine_grid)]
        return [
            *((module, module) for module in (self.patch_embed, *self.layers)),
            (self.neck, self._through_neck),
        ]

    def _through_neck(self, image: Tensor) -> Tensor:
        return self.neck(image.permute(0, 2, 3, 1))

    def _on_fine_grid(self, image: Tensor) -> Tensor:
        first: Stage = self.layers[0]  # type: ignore[assignment]
        assert self.fine is not None
        assert first.downsample is not None
        stage = first.through_blocks(self.patch_embed(image))
        image = first.downsample(stage)
        for layer in self.layers[1:]:
            image = layer(image)
        return self.fine(self._through_neck(image), stage)


def _stage(architecture: LiteMedSAMArchitecture, number: int) -> Stage:
    a, width = architecture, architecture.embed_dims[number]
    blocks: list[nn.Module] = [
        WindowBlock(width, a.num_heads[number], a.window_sizes[number], a.mlp_ratio)
        if number
        else InvertedBottleneck(width, a.expand_ratio)
        for _ in range(a.depths[number])
    ]
    last = number == len(a.depths) - 1
    return Stage(
        blocks, None if last else PatchMerging(width, a.embed_dims[number + 1], a.merge_strides[number])
    )
