"""What a stage does to the model before it trains, and which parameters then learn at which rate."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adaloraqat.errors import RecipeError
from adaloraqat.lowrank import adapters_of, add_adapters
from adaloraqat.models.families import SegmentationModel, resize
from adaloraqat.models.sam import architecture_of, encode
from adaloraqat.quantize import PrecisionPolicy, calibrate, policy_named, prepare
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.calibration import calibration_batches
from adaloraqat.training.films import FilmSet, normalise
from adaloraqat.training.recipe import AdaLoRAStage, FullStage, QuantizeStage, Stage
from adaloraqat.training.structure import Structure


def enter_stage(
    model: SegmentationModel, structure: Structure, stage: Stage, seed: int
) -> tuple[SegmentationModel, Structure]:
    """Change the module tree as `stage` needs it; weights that stay keep their values.

    Quantisation is entered without ranges: call `calibrate_films` next.
    """
    if isinstance(stage, FullStage) and stage.image_size not in (None, architecture_of(model)["image_size"]):
        assert stage.image_size is not None
        model = resize(model, stage.image_size)
        return model, Structure(architecture_of(model), structure.ranks, structure.policy)
    if isinstance(stage, AdaLoRAStage):
        add_adapters(model, r_max=stage.r_max, seed=seed)
        return model, structure.with_ranks(capacities(model))
    if isinstance(stage, QuantizeStage):
        if stage.train == "singular_values" and not adapters_of(model):
            raise RecipeError(
                f"Stage {stage.name} trains singular values, but its base has no adapters: put adalora "
                "before it, or start from a run that has one."
            )
        policy = policy_of(stage)
        prepare(model, policy)
        return model, structure.with_policy(policy)
    return model, structure


def policy_of(stage: QuantizeStage) -> PrecisionPolicy:
    """Return the precision policy that the stage names, with its weight range."""
    return policy_named(stage.policy, stage.weight_range)


def capacities(model: nn.Module) -> dict[str, int]:
    """Return the stored rank of every matrix, masked components included."""
    return {name: adapter.capacity for name, adapter in adapters_of(model).items()}


@torch.no_grad()
def calibrate_films(
    model: SegmentationModel, films: FilmSet, preprocessing: Preprocessing, count: int, seed: int
) -> None:
    """Set every activation range from `count` training films, each with the whole film and the lungs' box."""
    model.eval()
    calibrate(model, calibration_batches(films, preprocessing, count, seed))


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
    """Return the group of a base parameter; Fourier features and mask prompts never learn."""
    if "positional_embedding" in name or name.startswith("prompt_encoder.mask_embed"):
        return None
    if name.startswith(("vision_encoder.", "network.")):  # a network without prompts is all encoder
        return "encoder"
    return "prompts" if name.startswith("prompt_encoder.") else "decoder"


def _learns(kind: str, stage: Stage) -> bool:
    if isinstance(stage, AdaLoRAStage):
        return kind in ("adapters", "singular_values") or (kind == "decoder" and stage.train_decoder)
    if isinstance(stage, QuantizeStage):
        return {"all": True, "singular_values": kind == "singular_values", "nothing": False}[stage.train]
    return stage.train == "all" or kind == stage.train


def learning_rate(stage: Stage, rate: str) -> float:
    """Return the peak rate of a group; prompts learn at the decoder's."""
    return float(getattr(stage.learning_rates, "decoder" if rate == "prompts" else rate))


def embed(model: SegmentationModel, images: Tensor, valid: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return the embedding (B, D, g, g) of (B, 1, S, S) films in [0, 1]."""
    return encode(model, normalise(images, valid, preprocessing))
