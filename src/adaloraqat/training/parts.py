"""Quantising part by part: QMedSAM's run 1 takes the encoder, run 2 the decoder too (arXiv 2412.11186)."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from adaloraqat.quantize import PrecisionPolicy, prepare, restore
from adaloraqat.quantize.fake_quantize import ActivationQuantizer

PARTS: dict[str, tuple[str, ...]] = {
    "encoder": ("vision_encoder.*",),
    "decoder": ("mask_decoder.*", "prompt_encoder.*"),
}
"""The module names of each part; the prompt encoder goes with the decoder."""

Model = TypeVar("Model", bound=nn.Module)


def restricted(policy: PrecisionPolicy, parts: frozenset[str]) -> PrecisionPolicy:
    """Return `policy` with everything outside `parts` in floating point, named `<policy>-<part>`."""
    outside = [part for part in PARTS if part not in parts]
    if not outside:
        return policy
    rules = [(pattern, "float32") for part in outside for pattern in PARTS[part]]
    name = "-".join([policy.name, *sorted(parts)])
    return PrecisionPolicy(name, (*rules, *policy.rules), policy.weight_range, policy.divide)


def quantized_parts(policy: PrecisionPolicy | None) -> frozenset[str]:
    """Return which parts a policy made by `restricted` leaves to be quantised; none without a policy."""
    if policy is None:
        return frozenset()
    excluded = set(policy.rules)
    return frozenset(
        part for part, names in PARTS.items() if not all((name, "float32") in excluded for name in names)
    )


def widen(model: Model, policy: PrecisionPolicy) -> Model:
    """Quantise by `policy` a model that a narrower policy has quantised; its ranges and weights stay.

    What is new has no ranges yet.
    """
    known = {name: value.clone() for name, value in model.state_dict().items()}
    restore(model)
    prepare(model, policy)
    own = model.state_dict()
    model.load_state_dict({name: known.get(name, value) for name, value in own.items()})
    return model


@torch.no_grad()
def calibrated_ranges(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of every range that is calibrated, by name in the state_dict."""
    kept: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, ActivationQuantizer) and module.calibrated:
            owner = name.rpartition(".")[0]
            kept |= {f"{name}.{key}": value.clone() for key, value in module.state_dict().items()}
            observed = dict(model.get_submodule(owner).named_buffers(recurse=False)).get("output_range")
            if observed is not None:
                kept[f"{owner}.output_range"] = observed.clone()
    return kept


def fully_calibrated(model: nn.Module) -> bool:
    """Whether no quantiser of the model lacks its range."""
    return all(m.calibrated for m in model.modules() if isinstance(m, ActivationQuantizer))
