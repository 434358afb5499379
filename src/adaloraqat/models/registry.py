"""Architectures by name, so that recipes, bundles and the command line share one list; no torch needed."""

from __future__ import annotations

from types import MappingProxyType
from typing import TypeAlias

from adaloraqat.errors import RecipeError
from adaloraqat.models.architecture import SMALL, TINY, VIT_B, VIT_H, VIT_L, SamArchitecture
from adaloraqat.models.baseline_architectures import (
    DEEPLAB_V3_PLUS,
    SEGFORMER,
    TINY_UNET,
    UNET,
    PromptFreeArchitecture,
)
from adaloraqat.models.lite_medsam_architecture import (
    LITE_MEDSAM,
    LITE_MEDSAM_SMALL,
    LITE_MEDSAM_SMALL_FINE,
    LITE_MEDSAM_STRIDE4,
    LITE_MEDSAM_TINY,
    MOBILE_SAM,
    LiteMedSAMArchitecture,
)

Architecture: TypeAlias = SamArchitecture | LiteMedSAMArchitecture

ARCHITECTURES: MappingProxyType[str, Architecture] = MappingProxyType(
    {
        "small": SMALL,
        "tiny": TINY,
        "vit_b": VIT_B,
        "vit_l": VIT_L,
        "vit_h": VIT_H,
        "lite_medsam": LITE_MEDSAM,
        "lite_medsam_stride4": LITE_MEDSAM_STRIDE4,
        "lite_medsam_small": LITE_MEDSAM_SMALL,
        "lite_medsam_small_fine": LITE_MEDSAM_SMALL_FINE,
        "lite_medsam_tiny": LITE_MEDSAM_TINY,
        "mobile_sam": MOBILE_SAM,
    }
)
"""Names as recipes write them; `vit_*`, `lite_medsam` and `mobile_sam` are the published models."""

BASELINES: MappingProxyType[str, PromptFreeArchitecture] = MappingProxyType(
    {"unet": UNET, "tiny-unet": TINY_UNET, "segformer": SEGFORMER, "deeplab-v3-plus": DEEPLAB_V3_PLUS}
)
"""Networks without prompts, for comparison."""


def architecture(name: str) -> Architecture | PromptFreeArchitecture:
    """Return the architecture of that name; `to_dict` gives what `families.build` takes.

    Raises:
        RecipeError: there is none; the message lists the names.
    """
    known: dict[str, Architecture | PromptFreeArchitecture] = {**ARCHITECTURES, **BASELINES}
    if name not in known:
        raise RecipeError(f"There is no architecture {name!r}: choose one of {', '.join(known)}.")
    return known[name]
