"""U-Net from MONAI, the baseline that a segmentation of anything has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adaloraqat.errors import RecipeError
from adaloraqat.models.baseline_architectures import UNetArchitecture
from adaloraqat.models.prompt_free import PromptFreeModel


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
            "A U-Net needs MONAI, which is not installed: run pip install 'adaloraqat[baselines]'."
        ) from error
    network = BasicUNet(spatial_dims=2, in_channels=config.channels, out_channels=1, features=config.features)
    return PromptFreeModel(network, config.to_dict())
