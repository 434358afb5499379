"""The optimiser of a stage and the course of its learning rate."""

import math

import torch

from adaloraqat.training.recipe import Schedule
from adaloraqat.training.stages import Group


def make_optimizer(groups: list[Group], schedule: Schedule) -> torch.optim.Optimizer:
    """Return AdamW, or SGD with momentum, over `groups`; the caller sets the rates at each step."""
    settings = [
        {
            "params": list(group.parameters.values()),
            "weight_decay": schedule.weight_decay if group.decayed else 0.0,
        }
        for group in groups
    ] or [{"params": [torch.zeros(1)]}]
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=1e-4, momentum=schedule.momentum)
    return torch.optim.AdamW(settings, lr=1e-4)


def share_of_peak(schedule: Schedule, step: int, total: int) -> float:
    """Return the share of the peak rate at `step` of `total`.

    Linear warm-up, then constant, or half a cosine to zero.
    """
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    if not schedule.cosine:
        return 1.0
    done = (step - schedule.warmup_steps) / max(1, total - schedule.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))
