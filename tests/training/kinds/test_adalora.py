"""Stage 1: what the rank budget is spent by."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils import get_total_norm

from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.lowrank import adapters_of
from adaloraqat.training import parse_recipe
from adaloraqat.training.loop import RunContext, StageTraining
from adaloraqat.training.run import load_start
from adaloraqat.training.run_films import RunFilms, choose_films
from adaloraqat.training.run_folder import RunFolder
from adaloraqat.training.train import enter_stage

Make = Callable[[], dict[str, Any]]


def after_one_step(document: dict[str, Any], manifest: Path, out: Path) -> StageTraining:
    """Stage 1 after its first step, taken with every λ at 0.5: at 0, where it starts, none is important."""
    recipe = parse_recipe(document)
    films = RunFilms(*choose_films(read_manifest(manifest, files_exist=False), recipe), None)
    model, structure = enter_stage(recipe.stages[0], *load_start(recipe.base, recipe.seed), recipe.seed)
    for adapter in adapters_of(model).values():
        adapter.singular_values.data.fill_(0.5)
    context = RunContext(
        recipe, films, RunFolder(out), {}, torch.device("cpu"), lambda line: None, lambda *step: None
    )
    training = StageTraining(context, 0, model, structure)
    training.step()
    return training


def test_importance_is_that_of_true_gradients_whatever_they_are_clipped_to(
    both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    document = both_stages()
    document["stages"] = document["stages"][:1]
    found = []
    for limit in (None, 1e-4):
        document["stages"][0]["schedule"]["clip_gradient"] = limit
        found.append(after_one_step(document, manifest, tmp_path))
    true, clipped = found
    norms = [
        float(get_total_norm([p.grad for p in t.model.parameters() if p.grad is not None])) for t in found
    ]
    assert norms[1] == pytest.approx(1e-4, rel=1e-3)  # it was clipped
    assert norms[0] > 1e-3
    for name, adapter in adapters_of(true.model).items():
        importance = true.hooks.state_dict()[f"importance.{name}"]
        assert torch.equal(importance, (0.5 * adapter.singular_values.grad.double()).abs())
        assert importance.max() > 0
        assert torch.equal(clipped.hooks.state_dict()[f"importance.{name}"], importance)
