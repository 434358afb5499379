"""Architectures by name, so that recipes, bundles and the command line share one list; no torch needed."""

from __future__ import annotations

from types import MappingProxyType

from adaloraqat.errors import RecipeError
from adaloraqat.models.architecture import SMALL, TINY, VIT_B, VIT_H, VIT_L, SamArchitecture
from adaloraqat.models.baseline_architectures import (
    DEEPLAB_V3_PLUS,
    SEGFORMER,
    TINY_UNET,
    UNET,
    PromptFreeArchitecture,
)

ARCHITECTURES = MappingProxyType(
    {"small": SMALL, "tiny": TINY, "vit_b": VIT_B, "vit_l": VIT_L, "vit_h": VIT_H}
)
"""Names as recipes write them; `vit_*` are the published models."""

BASELINES: MappingProxyType[str, PromptFreeArchitecture] = MappingProxyType(
    {"unet": UNET, "tiny-unet": TINY_UNET, "segformer": SEGFORMER, "deeplab-v3-plus": DEEPLAB_V3_PLUS}
)
"""Networks without prompts, for comparison."""


def architecture(name: str) -> SamArchitecture | PromptFreeArchitecture:
    """Return the architecture of that name; `to_dict` gives what `families.build` takes.

    Raises:
        RecipeError: there is none; the message lists the names.
    """
    known: dict[str, SamArchitecture | PromptFreeArchitecture] = {**ARCHITECTURES, **BASELINES}
    if name not in known:
        raise RecipeError(f"There is no architecture {name!r}: choose one of {', '.join(known)}.")
    return known[name]
