"""What each kind of layer loses when only it is INT8, and the policy that this proposes.

For the question "why does the paper keep qkv in FP32, and need we?": every group of layers is quantised
alone, after training (PTQ), and the drop of the validation Dice is measured. `propose` then returns the most
sensitive groups to float, one after the other, until the whole model loses no more than what was allowed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from transformers import SamModel

from adaloraqat.datasets.manifest import evenly_spread
from adaloraqat.errors import RecipeError
from adaloraqat.progress import Report
from adaloraqat.quantize.calibration import in_precision
from adaloraqat.quantize.policy import PRECISIONS, PrecisionPolicy
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.batches import calibration_batches
from adaloraqat.training.films import FilmSet
from adaloraqat.training.validate import validate

AUTO = "auto"
RANKING_FILMS = 64
"""Validation films that groups are ranked with, evenly spread; what is proposed is proved on all."""
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")  # of a block; lin1 and lin2 are different layers
_DECODER_DEPTH = 2  # mask_decoder.transformer, mask_decoder.output_hypernetworks_mlps, ...


@dataclass(frozen=True)
class Films:
    """The films that a sensitivity is measured with.

    Attributes:
        calibration: training films, for activation ranges.
        validation: films that are scored; never test films.
        preprocessing: of the model.
        count: how many calibration films are drawn.
        seed: of the draw.
        ranked: how many validation films, evenly spread, the groups are ranked with; all if not given. What
            is proposed is proved on all.
    """

    calibration: FilmSet
    validation: FilmSet
    preprocessing: Preprocessing
    count: int = 32
    seed: int = 0
    ranked: int | None = None

    def ranking(self) -> Films:
        """Return these films with the validation films that groups are ranked with."""
        whole = self.validation
        if self.ranked is None or self.ranked >= len(whole):
            return self
        return replace(self, validation=whole.subset(evenly_spread(range(len(whole)), self.ranked)))


@dataclass(frozen=True)
class GroupSensitivity:
    """One group of layers, quantised alone.

    Attributes:
        group: names of the layers, their numbers as `*`.
        modules: how many layers.
        parameters: how many weights.
        dice: validation Dice, without a box, with only this group in INT8.
        drop: of Dice against the float model; below 0 the group gains.
    """

    group: str
    modules: int
    parameters: int
    dice: float
    drop: float


@dataclass(frozen=True)
class Proposal:
    """A policy that keeps the drop within what was allowed, and how it was found.

    Attributes:
        policy: for `export` and for a bundle, named "auto".
        dice_float: validation Dice of the float model, on all validation films.
        dice: validation Dice of the model under `policy`: measured with the whole policy, not added up.
        kept_float: groups that stay float.
        groups: every group alone, the most sensitive first.
        tried: (number of groups kept in float, Dice) in the order of the search.
    """

    policy: PrecisionPolicy
    dice_float: float
    dice: float
    kept_float: tuple[str, ...]
    groups: tuple[GroupSensitivity, ...] = field(repr=False)
    tried: tuple[tuple[int, float], ...] = ()


def groups_of(model: SamModel, policy: PrecisionPolicy) -> dict[str, list[str]]:
    """Return the layers that `policy` quantises, as {group: layer names}.

    Layers of equal place in different blocks are one group; the decoder's are grouped by its parts.
    """
    groups: dict[str, list[str]] = {}
    for name, precision in policy.describe(model).items():
        if PRECISIONS[precision].integer:
            groups.setdefault(_group(name), []).append(name)
    return groups


def _group(name: str) -> str:
    starred = _NUMBER.sub("*", name)
    return starred if starred.startswith("vision_encoder.") else _decoder_group(starred)


def _decoder_group(name: str) -> str:
    parts = name.split(".")
    return name if len(parts) <= _DECODER_DEPTH else ".".join(parts[:_DECODER_DEPTH]) + ".*"


def sensitivity(
    model: SamModel, policy: PrecisionPolicy, films: Films, report: Report
) -> tuple[float, list[GroupSensitivity]]:
    """Quantise every group of `policy` alone and measure the drop of the validation Dice.

    Args:
        model: float or fake-quantised; not changed.
        policy: what would be quantised together.
        films: for calibration and validation.
        report: receives one line a group.

    Returns:
        the float model's Dice, and the groups, the most sensitive first.

    Raises:
        RecipeError: the policy quantises nothing.
    """
    groups = groups_of(model, policy)
    if not groups:
        raise RecipeError(f"The policy {policy.name} quantises no layers: choose int8 or paper.")
    baseline = _dice(model, PrecisionPolicy("fp32"), films)
    report(f"float: validation Dice {baseline:.4f}")
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    found = []
    for group, names in groups.items():
        dice = _dice(model, _only(policy, names), films)
        parameters = sum(
            size for name, size in sizes.items() if name.startswith(tuple(f"{n}." for n in names))
        )
        found.append(GroupSensitivity(group, len(names), parameters, dice, baseline - dice))
        report(f"{group}: Dice {dice:.4f} ({dice - baseline:+.4f}) with {len(names)} layers in INT8")
    return baseline, sorted(found, key=lambda one: (-one.drop, one.group))


def check_max_drop(max_drop: float) -> None:
    """Refuse an invalid largest drop.

    Raises:
        RecipeError: it is negative.
    """
    if not max_drop >= 0:
        raise RecipeError(f"The largest drop {max_drop:g} is not 0 or more: give one such as 0.002.")


def propose(
    model: SamModel, policy: PrecisionPolicy, films: Films, max_drop: float, report: Report
) -> Proposal:
    """Return the policy with the fewest groups in float whose measured drop is at most `max_drop`.

    The search starts with every group in INT8 and returns the most sensitive one to float until the whole
    model holds.

    Args:
        model: float or fake-quantised; not changed.
        policy: the most that may be quantised.
        films: for calibration and validation.
        max_drop: of the validation Dice, 0 or more, such as 0.002.
        report: receives progress.

    Raises:
        RecipeError: `max_drop` is negative, or the policy quantises nothing.
    """
    check_max_drop(max_drop)
    ranking = films.ranking()
    baseline, ranked = sensitivity(model, policy, ranking, report)
    if ranking is not films:
        baseline = _dice(model, PrecisionPolicy("fp32"), films)
        report(f"float: Dice {baseline:.4f} on all {len(films.validation)} validation films")
    members = groups_of(model, policy)
    tried: list[tuple[int, float]] = []
    for kept in range(len(ranked) + 1):
        floats = [one.group for one in ranked[:kept]]
        candidate = _without(policy, [name for group in floats for name in members[group]])
        dice = _dice(model, candidate, films)
        tried.append((kept, dice))
        report(
            f"{kept} of {len(ranked)} groups in float: validation Dice {dice:.4f} ({dice - baseline:+.4f})"
        )
        if baseline - dice <= max_drop:
            return Proposal(candidate, baseline, dice, tuple(floats), tuple(ranked), tuple(tried))
    # Even the rounding of stored weights to 16 bits is too much: nothing is rounded at all.
    everything = tuple(one.group for one in ranked)
    return Proposal(PrecisionPolicy(AUTO), baseline, baseline, everything, tuple(ranked), tuple(tried))


def _only(policy: PrecisionPolicy, names: Sequence[str]) -> PrecisionPolicy:
    rules = tuple((name, policy.precision_of(name)) for name in names)
    return PrecisionPolicy(policy.name, rules, policy.weight_range, policy.divide)


def _without(policy: PrecisionPolicy, names: Sequence[str]) -> PrecisionPolicy:
    """Return `policy` with `names` in float, weights stored in 16 bits; named auto."""
    products = {name for name in names if PRECISIONS[policy.precision_of(name)].product}  # without weights
    floats = tuple((name, "float32" if name in products else "float16 storage") for name in names)
    return PrecisionPolicy(AUTO, floats + policy.rules, policy.weight_range, policy.divide)


def _dice(model: SamModel, policy: PrecisionPolicy, films: Films) -> float:
    batches = calibration_batches(films.calibration, films.preprocessing, films.count, films.seed)
    rounded, _ = in_precision(model, policy, None, batches)
    return validate(rounded, films.validation, films.preprocessing)["dice_no_box"]
