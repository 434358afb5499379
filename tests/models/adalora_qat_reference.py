"""AdaLoRA-QAT's published forward pass and its checkpoint files, written anew from a description of them.

Nothing here comes from the reader under test. The model is transformers' `SamModel` with `attn.qkv` replaced
by a module that adds (alpha / target_rank) · x Qᵀ diag(Λ · mask) Pᵀ to each third of the projection's output;
in stage 2 the listed linear layers multiply by rounded weights. Activations are never rounded.
"""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

METRICS = {"loss": 0.1, "dice": 0.95, "iou": 0.9, "nsd": 0.8, "hd95": 4.0, "assd": 1.0}


class AdaptedProjection(nn.Module):
    def __init__(self, qkv: nn.Linear, rank: int, kept: dict[str, int], scaling: float, seed: int) -> None:
        super().__init__()
        self.qkv, self.scaling = qkv, scaling
        width = qkv.in_features
        draw = torch.Generator().manual_seed(seed)
        for name in "qkv":
            self.register_parameter(
                f"P_{name}", nn.Parameter(torch.randn(width, rank, generator=draw) / width**0.5)
            )
            self.register_parameter(f"Lambda_{name}", nn.Parameter(0.1 + torch.rand(rank, generator=draw)))
            self.register_parameter(
                f"Q_{name}", nn.Parameter(torch.randn(rank, width, generator=draw) / width**0.5)
            )
        for name in "qkv":
            mask = torch.zeros(rank, dtype=torch.bool)
            mask[torch.randperm(rank, generator=draw)[: kept[name]]] = True
            self.register_buffer(f"importance_{name}", torch.rand(rank, generator=draw))
            self.register_buffer(f"mask_{name}", mask)
        self.register_buffer("importance_ema", torch.tensor(0.9))
        self.register_buffer("qat_mode", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        deltas = []
        for name in "qkv":
            values = getattr(self, f"Lambda_{name}") * getattr(self, f"mask_{name}")
            inner = F.linear(x, getattr(self, f"Q_{name}")) * values
            deltas.append(F.linear(inner, getattr(self, f"P_{name}")) * self.scaling)
        return self.qkv(x) + torch.cat(deltas, dim=-1)


class RoundedLinear(nn.Linear):
    """Int8WeightPerTensorFloat, spelt out: 0 zero point, -127..127, scale max|w| / 127, a true division."""

    def integers(self) -> tuple[Tensor, Tensor]:
        scale = self.weight.abs().max() / 127
        if scale == 0:
            return torch.zeros_like(self.weight), scale
        return torch.clamp(torch.round(self.weight / scale), -127, 127), scale

    def forward(self, x: Tensor) -> Tensor:
        integers, scale = self.integers()
        return F.linear(x, integers * scale, self.bias)


@dataclass(frozen=True)
class Small:
    """Measures of a small model of this kind."""

    image_size: int = 64
    patch: int = 16
    hidden: int = 32
    blocks: int = 2
    heads: int = 2
    window: int = 3  # does not divide the grid of 4: windows are padded
    global_blocks: tuple[int, ...] = (1,)
    prompt: int = 32
    decoder_mlp: int = 48
    rank: int = 6
    kept: tuple[int, int, int] = (4, 4, 4)
    alpha: float = 32.0
    target_rank: int = 32
    adapted: tuple[int, ...] | None = None
    seed: int = 0
    mlp: int = 96
    quality_width: int = 24


class Reference(nn.Module):
    """The authors' model: `sam`, and the adapted projections once more in `adalora_modules`."""

    def __init__(self, small: Small = Small(), stage: int = 1) -> None:
        super().__init__()
        self.small, self.stage = small, stage
        torch.manual_seed(small.seed)
        self.sam = SamModel(_config(small)).eval()
        with torch.no_grad():
            for name, parameter in self.sam.named_parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
                elif "positional" not in name:
                    fan_in = parameter[0].numel() if parameter.ndim == 2 else parameter[0].numel() / 2
                    parameter.copy_(1.5 * torch.randn_like(parameter) / fan_in**0.5)
        blocks = self.sam.vision_encoder.layers
        places = small.adapted if small.adapted is not None else tuple(range(small.blocks))
        kept = dict(zip("qkv", small.kept, strict=True))
        for block in places:
            scaling = small.alpha / small.target_rank
            adapted = AdaptedProjection(blocks[block].attn.qkv, small.rank, kept, scaling, small.seed + block)
            blocks[block].attn.qkv = adapted
        self.adalora_modules = nn.ModuleList(blocks[block].attn.qkv for block in places)
        self.places = places
        self.rounded_names = self._rounded_names()
        if stage == 2:
            for name in self.rounded_names:
                layer = self.sam.get_submodule(name)
                layer.__class__ = RoundedLinear
                layer.weight_quant = nn.Identity()  # Brevitas adds a submodule without any state
            for adapted in self.adalora_modules:
                adapted.qat_mode.fill_(True)
                adapted.importance_ema.fill_(1.0)

    def _rounded_names(self) -> list[str]:
        """Linear layers of the encoder but for qkv, and all of the mask decoder, spelt out."""
        names = []
        for block in range(self.small.blocks):
            root = f"vision_encoder.layers.{block}"
            names += [f"{root}.attn.proj", f"{root}.mlp.lin1", f"{root}.mlp.lin2"]
        names += [
            f"mask_decoder.{name}"
            for name, module in self.sam.mask_decoder.named_modules()
            if type(module) is nn.Linear
        ]
        return names

    def integers(self) -> dict[str, Tensor]:
        return {
            name: self.sam.get_submodule(name).integers()[0].to(torch.int8) for name in self.rounded_names
        }

    @torch.no_grad()
    def logits(self, pixels: Tensor, boxes: Tensor) -> Tensor:
        answer = self.sam(pixel_values=pixels, input_boxes=boxes, multimask_output=False)
        return answer.pred_masks[:, :, 0]  # (B, N, 4g, 4g)

    # ---- files

    def checkpoint(self) -> dict[str, object]:
        document: dict[str, object] = {
            "epoch": 7,
            "model_state_dict": self.state_dict(),
            "val_dice": 0.951,
            "val_metrics": dict(METRICS),
        }
        if self.stage == 2:
            document |= {"stage1_dice": 0.949, "quantized_layers": len(self.rounded_names)}
        return document

    def adapters(self) -> dict[str, object]:
        state: dict[str, object] = {}
        for number, adapted in enumerate(self.adalora_modules):
            for part in ("P", "Lambda", "Q", "importance", "mask"):
                for name in "qkv":
                    state[f"layer_{number}_{part}_{name}"] = getattr(adapted, f"{part}_{name}")
            state[f"layer_{number}_current_rank"] = int(adapted.mask_q.sum())
        return {
            "adalora_state_dict": state,
            "max_rank": self.small.rank,
            "target_rank": self.small.target_rank,
            "alpha": self.small.alpha,
            "lora_layers": list(self.places),
            "timestamp": "2025-01-01 00:00:00",
        }

    def save(self, folder: Path, stage_name: str | None = None) -> Path:
        """Write `best_model_*.pth` and return its path."""
        name = stage_name or {1: "stage1_fp32", 2: "stage2_int8"}[self.stage]
        path = folder / f"best_model_{name}.pth"
        torch.save(self.checkpoint(), path)
        return path

    def save_adapters(self, folder: Path) -> Path:
        """Write `best_adalora_*.pth` and return its path."""
        path = folder / f"best_adalora_{ {1: 'stage1_fp32', 2: 'stage2_int8'}[self.stage] }.pth"
        torch.save(self.adapters(), path)
        return path


def without_metadata(state: "OrderedDict[str, Tensor]") -> dict[str, Tensor]:
    """The same tensors in a plain dictionary, as a file that was saved again may have them."""
    return dict(state)


def cloned(state: "OrderedDict[str, Tensor]") -> dict[str, Tensor]:
    """Every name with memory of its own."""
    return {name: tensor.clone() for name, tensor in state.items()}


def prefixed(state: "OrderedDict[str, Tensor]", prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def example(small: Small = Small()) -> tuple[Tensor, Tensor]:
    """Two images, two boxes each."""
    draw = torch.Generator().manual_seed(9)
    pixels = torch.randn(2, 3, small.image_size, small.image_size, generator=draw)
    corners = torch.rand(2, 2, 2, 2, generator=draw).sort(dim=2).values * small.image_size
    return pixels, corners.flatten(2)


def _config(small: Small) -> SamConfig:
    return SamConfig(
        vision_config=SamVisionConfig(
            image_size=small.image_size,
            patch_size=small.patch,
            hidden_size=small.hidden,
            num_hidden_layers=small.blocks,
            num_attention_heads=small.heads,
            mlp_dim=small.mlp,
            window_size=small.window,
            global_attn_indexes=list(small.global_blocks),
            output_channels=small.prompt,
            num_pos_feats=small.prompt // 2,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            image_size=small.image_size, patch_size=small.patch, hidden_size=small.prompt
        ),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=small.prompt,
            mlp_dim=small.decoder_mlp,
            num_attention_heads=8,
            iou_head_hidden_dim=small.quality_width,
        ),
    )
