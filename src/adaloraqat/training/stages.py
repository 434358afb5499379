"""What a stage does to the model before it trains, and which parameters then learn at which rate."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from adaloraqat.lowrank import adapters_of, add_adapters
from adaloraqat.lowrank.lora import add_lora, merge_lora
from adaloraqat.models.families import SegmentationModel, resize
from adaloraqat.models.sam import architecture_of, encode
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.policy import PrecisionPolicy, policy_named
from adaloraqat.quantize.preparation import prepare
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.calibration import calibration_batches
from adaloraqat.training.device import device_of
from adaloraqat.training.films import FilmSet, normalise
from adaloraqat.training.parts import (
    PARTS,
    calibrated_ranges,
    fully_calibrated,
    quantized_parts,
    restricted,
    widen,
)
from adaloraqat.training.recipe import AdaLoRAStage, FullStage, LoRAStage, QuantizeStage, Stage
from adaloraqat.training.stage_order import check_entry, resizes
from adaloraqat.training.structure import Structure


def enter_stage(
    model: SegmentationModel, structure: Structure, stage: Stage, seed: int
) -> tuple[SegmentationModel, Structure]:
    """Change the module tree as `stage` needs it; weights that stay keep their values.

    Quantisation is entered without ranges, except those of what an earlier stage quantised: call
    `calibrate_films` next.
    """
    if structure.lora is not None:  # what follows starts from the merged weights
        merge_lora(model)
        structure = structure.with_lora(None)
    resized = resizes(stage, architecture_of(model)["image_size"])
    check_entry(stage, bool(adapters_of(model)), resized)
    if resized:
        assert isinstance(stage, FullStage)
        assert stage.image_size is not None
        model = resize(model, stage.image_size)
        return model, Structure(architecture_of(model), structure.ranks, structure.policy)
    if isinstance(stage, AdaLoRAStage):
        add_adapters(model, r_max=stage.r_max, seed=seed)
        return model, structure.with_ranks(capacities(model))
    if isinstance(stage, LoRAStage):
        alpha = stage.alpha or stage.rank
        add_lora(model, stage.rank, alpha, seed)
        return model, structure.with_lora(stage.rank, alpha)
    if isinstance(stage, QuantizeStage):
        known = PrecisionPolicy.from_dict(structure.policy) if structure.policy is not None else None
        policy = policy_of(stage, quantized_parts(known))
        if known is None:
            prepare(model, policy)
        elif policy != known:
            widen(model, policy)
        return model, structure.with_policy(policy)
    return model, structure


def policy_of(stage: QuantizeStage, before: frozenset[str] = frozenset()) -> PrecisionPolicy:
    """Return the policy that the stage names, for its parts and for those quantised `before` it."""
    parts = frozenset(PARTS) if stage.parts == "all" else before | {stage.parts}
    return restricted(policy_named(stage.policy, stage.weight_range), parts)


def capacities(model: nn.Module) -> dict[str, int]:
    """Return the stored rank of every matrix, masked components included."""
    return {name: adapter.capacity for name, adapter in adapters_of(model).items()}


@torch.no_grad()
def calibrate_films(
    model: SegmentationModel, films: FilmSet, preprocessing: Preprocessing, count: int, seed: int
) -> None:
    """Set activation ranges from `count` training films, each with the whole film and the lungs' box.

    Ranges that an earlier stage calibrated stay.
    """
    if fully_calibrated(model):
        return
    model.eval()
    kept = calibrated_ranges(model)
    device = device_of(model)
    batches = calibration_batches(films, preprocessing, count, seed)
    calibrate(model, ((images.to(device), boxes.to(device)) for images, boxes in batches))
    model.load_state_dict(kept, strict=False)


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate and a weight decay."""

    rate: str
    parameters: dict[str, nn.Parameter]
    decayed: bool


def trainable_groups(model: SegmentationModel, stage: Stage) -> list[Group]:
    """Freeze what `stage` does not train and return the rest, grouped by rate; names are the model's own."""
    adapter_parameters = _adapter_parameters(model)
    wanted: dict[str, dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        kind = adapter_parameters.get(id(parameter)) or _part(name)
        chosen = kind is not None and _learns(kind, stage)
        parameter.requires_grad_(chosen)
        if chosen and kind is not None:
            wanted.setdefault(kind, {})[name] = parameter
    groups = []
    for rate, parameters in wanted.items():
        matrices = {n: p for n, p in parameters.items() if p.ndim > 1 and rate in ("encoder", "decoder")}
        others = {n: p for n, p in parameters.items() if n not in matrices}
        groups += [
            Group(rate, part, decayed) for part, decayed in ((matrices, True), (others, False)) if part
        ]
    return groups


def count_trainable(groups: Iterable[Group]) -> int:
    """Return how many numbers learn."""
    return sum(p.numel() for group in groups for p in group.parameters.values())


def _adapter_parameters(model: nn.Module) -> dict[int, str]:
    kinds: dict[int, str] = {}
    for adapter in adapters_of(model).values():
        kinds |= {id(adapter.P): "adapters", id(adapter.Q): "adapters"}
        kinds[id(adapter.singular_values)] = "singular_values"
    return kinds


def _part(name: str) -> str | None:
    """Return the group of a parameter; Fourier features and mask prompts never learn."""
    if ".lora_" in name:
        return "adapters"
    if "positional_embedding" in name or name.startswith("prompt_encoder.mask_embed"):
        return None
    if name.startswith(("vision_encoder.", "network.")):  # a network without prompts is all encoder
        return "encoder"
    return "prompts" if name.startswith("prompt_encoder.") else "decoder"


def _learns(kind: str, stage: Stage) -> bool:
    if isinstance(stage, AdaLoRAStage | LoRAStage):
        return kind in ("adapters", "singular_values") or (kind == "decoder" and stage.train_decoder)
    return stage.train == "all" or kind == stage.train


def set_training(model: nn.Module) -> None:
    """Put the model into training mode, but leave a batch norm that does not learn as it is.

    Its running statistics belong to a frozen part, which a stage must not change.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not any(p.requires_grad for p in module.parameters()):
            module.eval()


@torch.no_grad()
def embedding_width(model: SegmentationModel) -> int:
    """Return the channels D of the model's embedding."""
    model.eval()
    measures = architecture_of(model)
    size = int(measures["image_size"])
    return encode(
        model, torch.zeros(1, int(measures["channels"]), size, size, device=device_of(model))
    ).shape[1]


def learning_rate(stage: Stage, rate: str) -> float:
    """Return the peak rate of a group; prompts learn at the decoder's."""
    return float(getattr(stage.learning_rates, "decoder" if rate == "prompts" else rate))


def embed(model: SegmentationModel, images: Tensor, valid: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return the embedding (B, D, g, g), on the model's device, of (B, 1, S, S) films in [0, 1]."""
    return encode(model, normalise(images, valid, preprocessing).to(device_of(model)))
