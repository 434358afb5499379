"""What a run or an architecture consists of, in numbers; the part of `info` that needs PyTorch."""

from pathlib import Path
from typing import Any

import torch

from adaloraqat.export.checkpoint_sizes import papers_count, rounded_layers
from adaloraqat.lowrank import (
    TrainableCount,
    adapted_width,
    adapters_of,
    add_adapters,
    count_trainable,
    relative_update,
    scaled_ranks,
)
from adaloraqat.models.adalora_qat_checkpoint import read_adalora_qat
from adaloraqat.models.baseline_architectures import PromptFreeArchitecture
from adaloraqat.models.families import build
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import architecture_of, count_parameters
from adaloraqat.quantize.policy import per_precision
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.run import finished_stages, load_run

R_MAX, R_TARGET = 48, 32
"""The paper's ranks before and after pruning (section 3)."""


def describe_architecture(name: str) -> dict[str, Any]:
    """Count a preset under the paper's recipe; nothing is allocated (the meta device)."""
    measures = architecture(name)
    if isinstance(measures, PromptFreeArchitecture):
        with torch.device("meta"):
            parameters = count_parameters(build(measures.to_dict()))
        document = {"kind": "architecture", "name": name, "architecture": measures.to_dict()}
        return {**document, "parameters": parameters}
    with torch.device("meta"):
        model = build(measures.to_dict())
        parameters = count_parameters(model)
        _, target = scaled_ranks(R_MAX, R_TARGET, adapted_width(model))
        adapters = add_adapters(model, r_max=target, seed=0)
    counts = count_trainable(model)
    return {
        "kind": "architecture",
        "name": name,
        "architecture": measures.to_dict(),
        "parameters": parameters,
        "stage_1": _stage_1(counts),
        "stage_2_trainable": {"paper": counts.stage_2},
        "ranks": {matrix: adapter.capacity for matrix, adapter in adapters.items()},
    }


def describe_run(folder: Path) -> dict[str, Any]:
    """Describe every finished stage of a run, the ranks of its last model, and the bytes of its files."""
    stages = finished_stages(folder)
    document: dict[str, Any] = {"kind": "run", "name": folder.name, "stages": {}}
    for stage in stages:
        run = load_run(folder, stage)
        document["stages"][stage] = {
            "kind": run.result["kind"],
            "trainable_parameters": run.result["trainable_parameters"],
            "validation": run.result["after"],
            "best_epoch": run.result["best_epoch"],
            "policy": run.structure.policy["name"] if run.structure.policy else "fp32",
        }
        if stage == stages[-1]:
            document["parameters"] = count_parameters(run.model)
            document["ranks"] = run.structure.ranks or {}
            document["relative_update"] = relative_update(run.model) if run.structure.ranks else {}
            document["precision"] = per_precision(run.model, run.policy)
            if adapters_of(run.model):
                document["stage_1"] = _stage_1(count_trainable(run.model, _decoder_learnt(run.recipe)))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    document["files"] = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    return document


def describe_checkpoint(path: Path) -> dict[str, Any]:
    """Describe a checkpoint of AdaLoRA-QAT's public code: what it holds, and what it does not.

    Raises:
        CheckpointError: another kind of file, or one that cannot be used.
        RecipeError: it holds adapters alone.
    """
    found = read_adalora_qat(path)
    return {
        "kind": "checkpoint of AdaLoRA-QAT's public code",
        "name": path.name,
        "stage": found.stage,
        "bytes": path.stat().st_size,
        "stored_as": "float32; no integers, no scales, no activation ranges",
        "architecture": architecture_of(found.model),
        "parameters": count_parameters(found.model),
        "adapter_parameters": found.adapter_parameters,
        "ranks": found.ranks,
        "scaling": {"value": found.scaling.factor, "source": found.scaling.source},
        "rounded_by_its_code": len(rounded_layers(found.model)),
        "paper": papers_count(found.model, found.adapter_parameters),
        "training": found.provenance,
        "warnings": list(found.notices),
    }


def _decoder_learnt(recipe: Recipe) -> bool:
    return all(stage.learns("decoder") for stage in recipe.stages if stage.adapts)


def _stage_1(counts: TrainableCount) -> dict[str, Any]:
    return {
        "matrices": counts.matrices,
        "components": counts.components,
        "adapter_parameters": counts.adapter_parameters,
        "decoder_parameters": counts.decoder_parameters,
        "trainable_parameters": counts.stage_1,
        "trainable_share": round(counts.trainable_share, 4),
        "times_fewer_than_all": round(counts.reduction, 2),
    }
