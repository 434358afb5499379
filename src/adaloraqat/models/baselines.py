"""The baselines that a segmentation of anything has to beat, behind `encode` and `decode`.

U-Net from MONAI, SegFormer (Xie et al. 2021) from transformers, and DeepLabV3+ (Chen et al. 2018) on the
MobileNetV2 of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    MobileNetV2Config,
    MobileNetV2ForSemanticSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
)

from adaloraqat.errors import RecipeError
from adaloraqat.extras import install
from adaloraqat.models.baseline_architectures import (
    DeepLabArchitecture,
    SegFormerArchitecture,
    UNetArchitecture,
)
from adaloraqat.models.sam import PromptFreeModel

LOW_LEVEL_WIDTH, HEAD_WIDTH = 48, 256
"""Widths of the reduced low-level features and of the decoder (Chen et al. 2018, section 4)."""
_MOMENTUM = 0.1  # share of a new batch in a running mean


def build_unet(architecture: Mapping[str, Any]) -> PromptFreeModel:
    """Return a `BasicUNet` of the given config (`UNetArchitecture`) with random weights.

    Its logits are as fine as the image, (B, 1, S, S). Normalisation is by instance, as in MONAI's default, so
    a film's mask does not depend on its batch.

    Raises:
        RecipeError: the config is inconsistent, or MONAI is not installed.
    """
    config = UNetArchitecture.from_dict(architecture)
    try:
        from monai.networks.nets import BasicUNet  # takes seconds to import
    except ImportError as error:
        raise RecipeError(
            f"A U-Net needs MONAI, which is not installed: run {install('baselines')}."
        ) from error
    network = BasicUNet(spatial_dims=2, in_channels=config.channels, out_channels=1, features=config.features)
    return PromptFreeModel(network, config.to_dict())


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
        return self.model(pixel_values=image).logits


def build_deeplab_v3_plus(architecture: Mapping[str, Any]) -> PromptFreeModel:
    """Return a DeepLabV3+ of the given config (`DeepLabArchitecture`) with random weights.

    Its logits are a quarter of the image's side, (B, 1, S / 4, S / 4).

    Raises:
        RecipeError: the config is inconsistent.
    """
    config = DeepLabArchitecture.from_dict(architecture)
    network_config = MobileNetV2Config(
        num_channels=config.channels,
        image_size=config.image_size,
        depth_multiplier=config.depth_multiplier,
        output_stride=config.output_stride,
        tf_padding=False,
        classifier_dropout_prob=0.0,  # the training draws from its own generators only, so that it can resume
        num_labels=1,
    )
    return PromptFreeModel(_DeepLabV3Plus(network_config), config.to_dict())


class _DeepLabV3Plus(nn.Module):
    """MobileNetV2, its reduced pyramid pooling from transformers, and the decoder that makes it a "plus".

    transformers' head of that name ends after the pooling, at the output stride, as the mobile models were
    published; the decoder with the low-level features at a quarter of the image is added here.
    """

    def __init__(self, config: MobileNetV2Config) -> None:
        super().__init__()
        model = MobileNetV2ForSemanticSegmentation(config)
        self.backbone, self.pooling = model.mobilenet_v2, model.segmentation_head
        self.pooling.classifier = nn.Identity()  # its 256 features go into the decoder
        self.low_level = _convolution(self._low_level_width(config), LOW_LEVEL_WIDTH, 1)
        self.decoder = nn.Sequential(
            _convolution(LOW_LEVEL_WIDTH + HEAD_WIDTH, HEAD_WIDTH, 3),
            _convolution(HEAD_WIDTH, HEAD_WIDTH, 3),
            nn.Conv2d(HEAD_WIDTH, 1, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                # transformers writes TensorFlow's 0.997, which in torch forgets all batches but the last
                module.momentum = _MOMENTUM

    @torch.no_grad()
    def _low_level_width(self, config: MobileNetV2Config) -> int:
        side = int(config.image_size)
        self.backbone.eval()  # this look must leave no trace in the running means
        width = self._features(torch.zeros(1, config.num_channels, side, side))[0].shape[1]
        self.backbone.train()
        return int(width)

    def _features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last features at a quarter of the side, and the deepest ones."""
        states = self.backbone(image, output_hidden_states=True).hidden_states
        quarter = image.shape[-1] // 4
        return [state for state in states if state.shape[-1] == quarter][-1], states[-1]

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, 1, S / 4, S / 4) of images (B, C, S, S)."""
        fine, deep = self._features(image)
        pooled = self.pooling(deep)  # (B, 256, S / stride, S / stride)
        pooled = F.interpolate(pooled, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.decoder(torch.cat([self.low_level(fine), pooled], dim=1))


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Return a convolution that keeps the size, with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
