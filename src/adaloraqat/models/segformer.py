"""SegFormer (Xie et al. 2021) from transformers, behind `encode` and `decode`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from adaloraqat.models.baseline_architectures import SegFormerArchitecture
from adaloraqat.models.prompt_free import PromptFreeModel


def build_segformer(architecture: Mapping[str, Any]) -> PromptFreeModel:
    """Return a SegFormer of the given config (`SegFormerArchitecture`) with random weights.

    Its logits are a quarter of the image's side, (B, 1, S / 4, S / 4), as published.

    Raises:
        RecipeError: the config is inconsistent.
    """
    config = SegFormerArchitecture.from_dict(architecture)
    network_config = SegformerConfig(
        num_channels=config.channels,
        hidden_sizes=list(config.hidden_sizes),
        depths=list(config.depths),
        num_attention_heads=list(config.heads),
        decoder_hidden_size=config.decoder_size,
        num_labels=1,
        # the training draws from its own generators only, so that it can resume: nothing is dropped at random
        drop_path_rate=0.0,
        classifier_dropout_prob=0.0,
    )
    return PromptFreeModel(_Logits(SegformerForSemanticSegmentation(network_config)), config.to_dict())


class _Logits(nn.Module):
    """A transformers segmentation model that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, 1, S / 4, S / 4) of images (B, C, S, S)."""
        logits: Tensor = self.model(pixel_values=image).logits
        return logits
