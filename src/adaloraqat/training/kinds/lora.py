"""Stage kind `lora`: plain LoRA of one fixed rank, the baseline of the paper's ablation."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from adaloraqat.lowrank.lora import add_lora, save_lora
from adaloraqat.models.families import SegmentationModel
from adaloraqat.training.kinds.base import Stage, register
from adaloraqat.training.structure import Structure


@register
class LoRAStage(Stage):
    """Plain LoRA of fixed rank on the encoder's fused qkv, by peft: the baseline of the paper's ablation.

    ΔW = (alpha / rank) · B · A; `alpha` null is the rank, a scale of 1. The LoRA learns at the rate
    `adapters`, the mask decoder, unless `train_decoder` is false, at its own. A stage that follows starts
    from the merged weights.
    """

    adds_adapters = True
    needs_plain = "a lora stage cannot follow an adalora stage; put it in its own recipe"

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1)
    alpha: int | None = Field(default=None, ge=1)
    train_decoder: bool = True

    def enter(
        self, model: SegmentationModel, structure: Structure, seed: int
    ) -> tuple[SegmentationModel, Structure]:
        """Put a LoRA on every qkv."""
        alpha = self.alpha or self.rank
        add_lora(model, self.rank, alpha, seed)
        return model, replace(structure, lora={"rank": self.rank, "alpha": alpha})

    def learns(self, part: str) -> bool:
        """Whether it is the LoRA, or the decoder where it learns too."""
        return part == "adapters" or (part == "decoder" and self.train_decoder)

    def save(self, model: SegmentationModel, folder: Path, base: str | None) -> None:
        """Write `adapter/` in peft's LoRA format."""
        alpha = self.alpha or self.rank
        save_lora(model, folder / "adapter", self.rank, alpha, decoder=self.train_decoder, base=base)
