"""Stage kind `quantize`: stage 2 of the paper, quantisation-aware training, in one run or part by part.

QMedSAM's run 1 quantises and trains the encoder, run 2 the decoder too, run 3 trains both (arXiv 2412.11186).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from adaloraqat.bundle.cpu import full_range_doubt
from adaloraqat.errors import RecipeError
from adaloraqat.models.families import SegmentationModel
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.fake_quantize import ActivationQuantizer
from adaloraqat.quantize.policy import POLICIES, PrecisionPolicy, WeightRange, policy_named
from adaloraqat.quantize.preparation import prepare, restore
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.batches import calibration_batches
from adaloraqat.training.films import FilmSet, device_of
from adaloraqat.training.kinds.base import Stage, register
from adaloraqat.training.structure import Structure

PARTS: dict[str, tuple[str, ...]] = {
    "encoder": ("vision_encoder.*",),
    "decoder": ("mask_decoder.*", "prompt_encoder.*"),
}
"""The module names of each part; the prompt encoder goes with the decoder."""

_AN_ADAPTED = "vision_encoder.layers.0.attn.qkv"


@register
class QuantizeStage(Stage):
    """Stage 2: quantisation-aware training.

    `train` is what learns: `singular_values` (the paper: only Λ, at 1e-6), `all`, `encoder`, `decoder`, or
    `nothing` (plain post-training quantisation, calibrated on `calibration_films` training films).
    `weight_range` is the policy's own unless it is given: portable, but full of `w8` and `reference`.

    `parts` is what gets quantised: QMedSAM's run 1 is `encoder`, run 2 `decoder`, and run 3 trains `all`.
    Such stages follow one another; what an earlier one quantised stays so, with its calibrated ranges.
    """

    start_counts = True  # before the first step it is what calibration alone gives: plain PTQ

    kind: Literal["quantize"] = "quantize"
    policy: str = "int8"
    weight_range: WeightRange = Field(default_factory=lambda known: _own_range(known.get("policy", "")))
    parts: Literal["encoder", "decoder", "all"] = "all"
    train: Literal["singular_values", "all", "encoder", "decoder", "nothing"] = "all"
    calibration_films: int = Field(default=32, ge=1)

    @model_validator(mode="after")
    def _policy_known(self) -> "QuantizeStage":
        if self.policy not in POLICIES:
            raise ValueError(f"there is no policy {self.policy!r}; choose one of {', '.join(POLICIES)}")
        return self

    @property
    def numerics(self) -> tuple[str, str]:
        """Policy and weight range of the stage."""
        return self.policy, self.weight_range

    def check_order(self, before: Sequence[Stage], pretrained: bool) -> None:
        """Refuse numerics that differ from an earlier quantize stage's, and Λ that do not exist."""
        if any(stage.numerics not in (None, self.numerics) for stage in before):
            raise ValueError("quantize stages that follow one another need one policy and one weight_range")
        if self.train == "singular_values" and not pretrained and not any(stage.adapts for stage in before):
            raise ValueError("stage 2 trains singular_values, but no adalora stage comes before it")

    def check_learning(self, before: Sequence[Stage]) -> None:
        """Refuse, too, to train the Λ where a policy merges them."""
        super().check_learning(before)
        if self.train == "singular_values" and self._merges_adapters(before):
            raise RecipeError(
                f"Stage {self.name} trains singular values, but policy {self.policy} stores W + PΛQ as one "
                "matrix, which leaves none: write train: nothing or all, or another policy, such as int8."
            )

    def _merges_adapters(self, before: Sequence[Stage]) -> bool:
        """Whether the stage, or one before it, stores adapted matrices whose inputs are not rounded."""
        parts = {stage.parts for stage in (*before, self) if isinstance(stage, QuantizeStage)}
        policy = policy_named(self.policy, self.weight_range)
        stored = policy.precision(policy.precision_of(_AN_ADAPTED))
        return parts != {"decoder"} and stored.integer and not stored.activations

    def check_entry(self, adapted: bool, image_size: int) -> None:
        """Refuse to train the Λ of a model without adapters."""
        if self.train == "singular_values" and not adapted:
            raise RecipeError(
                f"Stage {self.name} trains singular values, but its base has no adapters: put adalora "
                "before it, or start from a run that has one."
            )

    def machine_warnings(self) -> list[str]:
        """Return whether this CPU would execute the bundle wrongly; training itself is right on any."""
        known = full_range_doubt(self.weight_range)
        if not known or not policy_named(self.policy).quantizes:
            return []
        return [
            f"bundles with weight_range full give wrong masks on this CPU, which {known}; set it to portable "
            "unless they will run elsewhere."
        ]

    def enter(
        self, model: SegmentationModel, structure: Structure, seed: int
    ) -> tuple[SegmentationModel, Structure]:
        """Fake-quantise the stage's parts; ranges are known only of what an earlier stage quantised."""
        known = PrecisionPolicy.from_dict(structure.policy) if structure.policy is not None else None
        parts = frozenset(PARTS) if self.parts == "all" else quantized_parts(known) | {self.parts}
        policy = restricted(policy_named(self.policy, self.weight_range), parts)
        if known is None:
            prepare(model, policy)
        elif policy != known:
            widen(model, policy)
        return model, replace(structure, policy=policy.to_dict())

    @property
    def calibrated_on(self) -> int:
        """How many training films activation ranges are measured on."""
        return self.calibration_films

    @torch.no_grad()
    def calibrate(
        self, model: SegmentationModel, films: FilmSet, preprocessing: Preprocessing, seed: int
    ) -> None:
        """Set activation ranges from training films, each with the whole film and the lungs' box.

        Ranges that an earlier stage calibrated stay.
        """
        if all(m.calibrated for m in model.modules() if isinstance(m, ActivationQuantizer)):
            return
        model.eval()
        kept = calibrated_ranges(model)
        device = device_of(model)
        batches = calibration_batches(films, preprocessing, self.calibration_films, seed)
        calibrate(model, ((images.to(device), boxes.to(device)) for images, boxes in batches))
        model.load_state_dict(kept, strict=False)

    def learns(self, part: str) -> bool:
        """Whether `train` names the part."""
        return self.train in ("all", part)

    def conclusion(self, before: float, after: float, largest_change: float | None) -> str:
        """Say what training gave over calibration alone (PTQ), and how far the singular values went."""
        moved = (
            "" if largest_change is None else f"; no singular value changed by more than {largest_change:.1e}"
        )
        return (
            f"{self.name}: validation Dice {before:.4f} calibrated (PTQ), {after:.4f} trained "
            f"({after - before:+.4f}){moved}"
        )


def _own_range(policy: str) -> WeightRange:
    return POLICIES[policy].weight_range if policy in POLICIES else "portable"


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


def widen(model: nn.Module, policy: PrecisionPolicy) -> None:
    """Quantise by `policy` a model that a narrower policy has quantised; its ranges and weights stay.

    What is new has no ranges yet.
    """
    known = {name: value.clone() for name, value in model.state_dict().items()}
    restore(model)
    prepare(model, policy)
    own = model.state_dict()
    model.load_state_dict({name: known.get(name, value) for name, value in own.items()})


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
