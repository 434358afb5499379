"""Architectures by name, so that recipes, bundles and the command line share one list; no torch needed."""

from __future__ import annotations

from types import MappingProxyType

from adaloraqat.errors import RecipeError
from adaloraqat.models.architecture import SMALL, TINY, VIT_B, VIT_H, VIT_L, SamArchitecture

ARCHITECTURES = MappingProxyType(
    {"small": SMALL, "tiny": TINY, "vit_b": VIT_B, "vit_l": VIT_L, "vit_h": VIT_H}
)
"""Names as recipes write them; `vit_*` are the published models."""


def architecture(name: str) -> SamArchitecture:
    """Return the architecture of that name.

    Raises:
        RecipeError: there is none; the message lists the names.
    """
    if name not in ARCHITECTURES:
        raise RecipeError(f"There is no architecture {name!r}: choose one of {', '.join(ARCHITECTURES)}.")
    return ARCHITECTURES[name]
