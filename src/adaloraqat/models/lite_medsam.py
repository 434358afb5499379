"""LiteMedSAM (CVPR 2024 "MedSAM on Laptop"; QMedSAM, arXiv 2412.11186): TinyViT, SAM's prompts and decoder.

It is a transformers `SamModel` in all but its encoder, so `models.sam.encode` and `decode`, the training
loop, quantisation and export take it as they take a SAM. Once this module is imported, transformers'
`AutoModel` reads the folders that `models.checkpoints.save_base` writes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, SamModel

from adaloraqat.models.lite_medsam_architecture import LiteMedSAMArchitecture
from adaloraqat.models.sam import SHARED_FREQUENCIES, initialise_prompt_and_decoder
from adaloraqat.models.tiny_vit import BatchNorm, FineGrid, InvertedBottleneck, TinyViT, WindowAttention
from adaloraqat.renamed import warn_renamed

_ENCODER_STD = 0.02  # TinyViT's truncated normal of linear layers


class LiteMedSamConfig(PreTrainedConfig):
    """What transformers reads of a LiteMedSAM's `config.json`.

    Attributes:
        architecture: `LiteMedSAMArchitecture.to_dict`.
    """

    model_type = LiteMedSAMArchitecture.family
    architecture: dict[str, Any] | None = None


class LiteMedSam(SamModel):
    """A `SamModel` whose `vision_encoder` is a TinyViT.

    Attributes:
        lite_medsam_config: what it was built from.
    """

    config_class = LiteMedSamConfig  # of `from_pretrained` alone; `config` is that of SAM's parts

    def __init__(self, config: LiteMedSAMArchitecture | LiteMedSamConfig, attention: str = "sdpa") -> None:
        """Build it with weights that mean nothing; `build_lite_medsam` draws them."""
        if isinstance(config, LiteMedSamConfig):
            config = LiteMedSAMArchitecture.from_dict(config.architecture or {})
        sam_config = config.prompt_and_decoder().to_config()
        sam_config.vision_config.num_hidden_layers = 0  # SAM's own encoder is thrown away at once
        sam_config._attn_implementation = attention
        super().__init__(sam_config)
        self.lite_medsam_config = config
        self.vision_encoder = TinyViT(config, sam_config)
        for module in self.vision_encoder.modules():
            if isinstance(module, WindowAttention):
                module.fused = attention == "sdpa"

    @property
    def architecture(self) -> dict[str, Any]:
        """The config in the form that `adaloraqat.models.families.build` takes."""
        return self.lite_medsam_config.to_dict()

    @property
    def measures(self) -> LiteMedSAMArchitecture:
        """The old name of `lite_medsam_config`; it goes with the next version."""
        warn_renamed("LiteMedSam.measures", "LiteMedSam.lite_medsam_config")
        return self.lite_medsam_config


def build_lite_medsam(
    architecture: Mapping[str, Any] | LiteMedSAMArchitecture, attention: str = "sdpa"
) -> LiteMedSam:
    """Return a LiteMedSAM of the given config with random weights, drawn as the published code draws them.

    torch's global generator is used; seed it for a repeatable model.

    Args:
        architecture: config, or its `to_dict` form.
        attention: "sdpa" (fused) or "eager" (written out, as published).

    Raises:
        RecipeError: the config is inconsistent.
    """
    config = (
        architecture
        if isinstance(architecture, LiteMedSAMArchitecture)
        else LiteMedSAMArchitecture.from_dict(architecture)
    )
    model = LiteMedSam(config, attention)
    _initialise(model.vision_encoder)
    initialise_prompt_and_decoder(model)
    nn.init.normal_(model.shared_image_embedding.positional_embedding)
    model.shared_image_embedding.positional_embedding.requires_grad_(False)
    return model


def lite_medsam_from_state(
    architecture: LiteMedSAMArchitecture, state: Mapping[str, Tensor], attention: str = "sdpa"
) -> LiteMedSam:
    """Return a LiteMedSAM that holds the tensors of `state` themselves; as `models.sam.sam_from_state`.

    Raises:
        RuntimeError: a name is missing or unknown, or a shape differs (a defect of the caller).
    """
    with torch.device("meta"):
        model = build_lite_medsam(architecture, attention)
    shared = nn.Parameter(state[SHARED_FREQUENCIES[0]], requires_grad=False)
    model.load_state_dict({**state, **dict.fromkeys(SHARED_FREQUENCIES, shared)}, assign=True)
    return model


def with_fine_grid(model: LiteMedSam, seed: int) -> LiteMedSam:
    """Return a copy of `model` whose embedding has the grid of stage 0; its answer is at first as it was.

    Args:
        model: one without a fine grid.
        seed: of the weights that are new; the global generator stays.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        finer = build_lite_medsam(replace(model.lite_medsam_config, fine_grid=True))
    finer.load_state_dict(model.state_dict(), strict=False)
    return finer


@torch.no_grad()
def _initialise(encoder: nn.Module) -> None:
    """Linear layers normal, biases of attention 0, the last norm of stage-0 blocks and fine grid 0 (idle)."""
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=_ENCODER_STD)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | BatchNorm):
            module.reset_parameters()
        elif isinstance(module, WindowAttention):
            nn.init.zeros_(module.attention_biases)
    for module in encoder.modules():
        if isinstance(module, InvertedBottleneck | FineGrid) and isinstance(module.conv3.bn, BatchNorm):
            nn.init.zeros_(module.conv3.bn.weight)


AutoConfig.register(LiteMedSamConfig.model_type, LiteMedSamConfig, exist_ok=True)
AutoModel.register(LiteMedSamConfig, LiteMedSam, exist_ok=True)
