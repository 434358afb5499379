"""What a stage minimises, what of the model learns by it and at which rate, and the optimiser.

The losses (paper section 3, SAM section 3) are not taken from MONAI, because importing MONAI takes longer
than the demo's first epoch and the two formulas are two lines; `tests/training` compares both with
hand-worked numbers.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from adaloraqat.models.families import SegmentationModel
from adaloraqat.training.kinds.base import Losses, Stage

_MASK_PROMPTS = "prompt_encoder.mask_embed"

# ---- the losses --------------------------------------------------------------------------------------


def mask_terms(logits: Tensor, quality: Tensor, targets: Tensor, weights: Losses) -> dict[str, Tensor]:
    """Return the weighted loss terms () that every stage has.

    Args:
        logits: (B, 1, S, S).
        quality: (B, 1) predicted IoU.
        targets: (B, 1, S, S) soft masks in [0, 1].
        weights: of the terms; the quality term exists only where it weighs.
    """
    terms = {
        "bce": weights.bce * F.binary_cross_entropy_with_logits(logits, targets),
        "dice": weights.dice * soft_dice_loss(logits, targets),
    }
    if weights.quality:
        error = F.mse_loss(
            quality[:, 0].to(logits.dtype), mask_iou(logits.detach(), targets).to(logits.dtype)
        )
        terms["quality"] = weights.quality * error
    return terms


def soft_dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over the batch of 1 - (2 Σpt + 1) / (Σp + Σt + 1), p = sigmoid(logits).

    The ones keep the loss of an empty mask finite and its gradient small.

    Args:
        logits: (B, 1, H, W).
        targets: (B, 1, H, W) soft masks in [0, 1].
    """
    probability = logits.sigmoid()
    overlap = (probability * targets).sum(dim=(1, 2, 3))
    total = probability.sum(dim=(1, 2, 3)) + targets.sum(dim=(1, 2, 3))
    return (1 - (2 * overlap + 1) / (total + 1)).mean()


def mask_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the IoU (B,) of each thresholded mask (B, 1, H, W) with its truth; 1 where both are empty."""
    predicted, truth = logits > 0, targets > 0.5
    overlap = (predicted & truth).sum(dim=(1, 2, 3)).float()
    union = (predicted | truth).sum(dim=(1, 2, 3)).float()
    return (overlap + 1e-6) / (union + 1e-6)


# ---- what learns -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate and a weight decay."""

    rate: str
    parameters: dict[str, nn.Parameter]
    decayed: bool


def trainable_groups(model: SegmentationModel, stage: Stage, clicks: bool = False) -> list[Group]:
    """Freeze what `stage` does not train and return the rest, grouped by rate; names are the model's own.

    Where the stage trains with `clicks`, what embeds prompts, points and masks among them, learns with the
    decoder: a base that learnt from boxes alone says nothing by a point. Not beside adapters, whose folder in
    peft's format holds no more than them and the decoder.
    """
    with_decoder = clicks and not stage.adds_adapters
    wanted: dict[str, dict[bool, dict[str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        part = "prompts" if clicks and name.startswith(_MASK_PROMPTS) else _part(name)
        learns = part is not None and stage.learns("decoder" if part == "prompts" and with_decoder else part)
        parameter.requires_grad_(learns)
        if part is not None and parameter.requires_grad:
            decayed = parameter.ndim > 1 and part in ("encoder", "decoder")
            wanted.setdefault(part, {True: {}, False: {}})[decayed][name] = parameter
    return [
        Group(part, found, decayed)
        for part, both in wanted.items()
        for decayed, found in both.items()
        if found
    ]


def _part(name: str) -> str | None:
    """Return the group of a parameter; Fourier features never learn, nor mask prompts that are not given."""
    if ".adapters." in name or ".lora_" in name:
        return "singular_values" if name.endswith(".singular_values") else "adapters"
    if "positional_embedding" in name or name.startswith(_MASK_PROMPTS):
        return None
    if name.startswith(("vision_encoder.", "network.")):  # a network without prompts is all encoder
        return "encoder"
    return "prompts" if name.startswith("prompt_encoder.") else "decoder"


def set_training(model: nn.Module) -> None:
    """Put the model into training mode, but leave a batch norm that does not learn as it is.

    Its running statistics belong to a frozen part, which a stage must not change.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not any(p.requires_grad for p in module.parameters()):
            module.eval()


def make_optimizer(groups: list[Group], stage: Stage) -> torch.optim.Optimizer:
    """Return AdamW, or SGD with momentum, over `groups`; each setting holds the `peak` of its rate."""
    schedule = stage.schedule
    settings = [
        {
            "params": list(group.parameters.values()),
            "weight_decay": schedule.weight_decay if group.decayed else 0.0,
            "peak": stage.learning_rates.of(group.rate),
            "rate": group.rate,
        }
        for group in groups
    ] or [{"params": [torch.zeros(1)]}]
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=1e-4, momentum=schedule.momentum)
    return torch.optim.AdamW(settings, lr=1e-4)


def gradients(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return the gradients of all that learns."""
    learning = (parameter for setting in optimizer.param_groups for parameter in setting["params"])
    return [parameter.grad for parameter in learning if parameter.grad is not None]


def rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the present learning rate of each group that learns, by its name in `LearningRates`."""
    return {setting["rate"]: setting["lr"] for setting in optimizer.param_groups if "rate" in setting}


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: dict[int, str]) -> dict[str, Tensor]:
    """Flatten an optimiser's state into tensors named `<parameter>|<entry>`; `names` maps id(parameter)."""
    return {
        f"{names[id(parameter)]}|{entry}": value
        for parameter, state in optimizer.state.items()
        for entry, value in state.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], parameters: dict[str, nn.Parameter]
) -> None:
    """Put back what `optimizer_tensors` gave."""
    for key, value in tensors.items():
        name, entry = key.rsplit("|", 1)
        parameter = parameters[name]
        same = value.shape == parameter.shape  # AdamW's step count stays on the CPU
        optimizer.state[parameter][entry] = value.to(parameter.device, copy=True) if same else value.clone()
