"""What a model consists of, as data: enough to rebuild the module tree before its weights are loaded."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adaloraqat.lowrank.adalora import add_adapters, set_ranks
from adaloraqat.lowrank.lora import add_lora
from adaloraqat.models.families import SegmentationModel, build
from adaloraqat.quantize.policy import PrecisionPolicy
from adaloraqat.quantize.preparation import prepare
from adaloraqat.radiograph import Preprocessing


@dataclass(frozen=True)
class Structure:
    """Architecture, rank of every adapter (None: no adapters), and precision policy (None: not quantised).

    `lora` is the rank and alpha of a plain LoRA (None: there is none). `preprocessing` is what published
    weights, or a recipe, want done to a film (None: `usual_preprocessing` of the architecture). All are
    values for JSON.
    """

    architecture: dict[str, Any]
    ranks: dict[str, int] | None = None
    policy: dict[str, Any] | None = None
    lora: dict[str, int] | None = None
    preprocessing: dict[str, Any] | None = None

    def preprocessing_at(self, image_size: int | None = None) -> Preprocessing:
        """Return what is done to a film, for a square of `image_size` px; None: the architecture's."""
        size = image_size or int(self.architecture["image_size"])
        if self.preprocessing is None:
            return usual_preprocessing({**self.architecture, "image_size": size})
        return Preprocessing.from_dict({**self.preprocessing, "image_size": size})


def build_model(structure: Structure) -> SegmentationModel:
    """Build the module tree of `structure`; its weights are arbitrary until a state is loaded."""
    model = build(structure.architecture)
    if structure.ranks is not None:
        add_adapters(model, r_max=max(1, *structure.ranks.values()), seed=0)
        set_ranks(model, structure.ranks)
    if structure.lora is not None:
        add_lora(model, **structure.lora, seed=0)
    if structure.policy is not None:
        prepare(model, PrecisionPolicy.from_dict(structure.policy))
    settle_memory(model)
    return model


@torch.no_grad()
def settle_memory(model: nn.Module) -> None:
    """Move every parameter into contiguous memory of its own; values and parameter objects stay.

    Strides and alignment decide in which order a matrix product adds up, hence its last bit. A model that was
    just adapted or read from a file must round as one that was rebuilt from a checkpoint.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)


def usual_preprocessing(architecture: dict[str, Any]) -> Preprocessing:
    """Return the preprocessing of a model that brings none: percentiles, and a normalisation by its kind.

    Models that begin with random weights, and those made before published weights brought their own
    (`models.published.preprocessing_of`).
    """
    size, channels = int(architecture["image_size"]), int(architecture["channels"])
    if architecture.get("family") == "lite_medsam":
        return Preprocessing(size, channels, mean=(0.0,), std=(1.0,))
    if channels == 3:
        return Preprocessing(size, 3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return Preprocessing(size, channels)
