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

    `lora` is the rank and alpha of a plain LoRA (None: there is none). All are values for JSON.
    """

    architecture: dict[str, Any]
    ranks: dict[str, int] | None = None
    policy: dict[str, Any] | None = None
    lora: dict[str, int] | None = None


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


def preprocessing_for(architecture: dict[str, Any]) -> Preprocessing:
    """Return the preprocessing of a model: ImageNet's mean and deviation for SAM's three channels, else ours.

    LiteMedSAM takes intensities in [0, 1] as they are (public inference code, `CVPR24_LiteMedSAM_infer.py`).
    The public SAM weights were trained on colour images so normalised; a grey model trained here has one
    channel, and the film's own percentiles fill [0, 1].
    """
    size, channels = int(architecture["image_size"]), int(architecture["channels"])
    if architecture.get("family") == "lite_medsam":
        return Preprocessing(size, channels, mean=(0.0,), std=(1.0,))
    if channels == 3:
        return Preprocessing(size, 3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return Preprocessing(size, channels)
