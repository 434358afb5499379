"""The recipes of the two papers, end to end as a user runs them: small weights in the published formats.

Nothing of a recipe is changed but where its weights lie, sizes and numbers of steps, each by `--set`.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny_vit_reference import PublishedTinyViT
from typer.testing import CliRunner

from adaloraqat.cli.main import app
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.models.checkpoints import save_base
from adaloraqat.models.sam import TINY, build_sam
from adaloraqat.training.recipe import SHIPPED_RECIPES
from adaloraqat.training.run import load_run

Call = Callable[..., str]
ENCODER = PublishedTinyViT(
    dims=(8, 12, 16, 320), depths=(1, 1, 2, 1), heads=(1, 2, 2, 5), windows=(3, 3, 4, 3), out=32
)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run the command line in a folder with ten phantoms in `films`; return what it printed."""
    monkeypatch.chdir(tmp_path)
    write_phantoms(tmp_path / "films", 10, seed=4, size=64)

    def run(*arguments: object) -> str:
        ended = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
        assert ended.exit_code == 0, ended.stderr
        return ended.stdout

    return run


def settings(changes: dict[str, object]) -> list[str]:
    return [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]


def run_to_the_end(call: Call, recipe: str, changes: dict[str, object], tmp_path: Path) -> dict:
    """Train, export and segment; return result.json."""
    call(
        "train",
        f"recipes/{recipe}",
        "--data",
        "films/manifest.csv",
        "-o",
        "run",
        *settings(changes),
        "--threads",
        1,
    )
    call("export", "run", "-o", "bundle")
    film = next((tmp_path / "films/images").iterdir())
    call("segment", film, "--model", "bundle", "-o", "masks")
    with Image.open(film) as picture, Image.open(next((tmp_path / "masks").glob("*.png"))) as mask:
        assert mask.size == picture.size
        assert set(np.unique(np.asarray(mask))) <= {0, 255}
    # the run has every key of the recipe that was not set
    shipped = yaml.safe_load((SHIPPED_RECIPES / recipe).read_text())
    used = yaml.safe_load((tmp_path / "run/recipe.yaml").read_text())
    for stage, own in zip(shipped["stages"], used["stages"], strict=True):
        for key in stage.keys() - {"schedule", "prune_at", "distillation"}:
            value = stage[key]
            assert value == (
                {name: own[key][name] for name in value} if isinstance(value, dict) else own[key]
            )
    return json.loads((tmp_path / "run/result.json").read_text())


def test_the_paper_from_a_sam_folder(call: Call, tmp_path: Path) -> None:
    torch.manual_seed(0)
    smaller = replace(TINY, channels=3, num_layers=1, global_attention_layers=(0,), decoder_layers=1)
    save_base(build_sam(smaller), tmp_path / "sam")
    changes: dict[str, object] = {"base.weights": "sam", "stages.0.prune_at": [1, 2, 3]}
    for stage, epochs in ((0, 4), (1, 1)):
        changes |= {
            f"stages.{stage}.schedule.epochs": epochs,
            f"stages.{stage}.schedule.steps_per_epoch": 1,
            f"stages.{stage}.schedule.batch_size": 2,
        }
    result = run_to_the_end(call, "paper.yaml", changes | {"stages.1.calibration_films": 2}, tmp_path)
    stage_1, stage_2 = result["stages"]
    assert len(stage_1["budgets"]) == 3
    assert sum(stage_2["ranks"].values()) == stage_1["budgets"][-1]
    assert stage_2["max_singular_value_change"] is not None
    assert load_run(tmp_path / "run").policy.name == "paper"


@pytest.mark.slow  # its training and its export are each tested apart
def test_qmedsam_from_published_files(call: Call, meta_sam, tmp_path: Path) -> None:
    teacher = meta_sam(image_size=64, patch=8, window=4, depth=2, heads=4, global_blocks=(1,))
    torch.save(teacher.weights(), tmp_path / "medsam_vit_b.pth")
    rest = {
        n: t for n, t in meta_sam(prompt=ENCODER.out).weights().items() if not n.startswith("image_encoder.")
    }
    torch.save({**ENCODER.weights(), **rest}, tmp_path / "lite_medsam.pth")
    changes: dict[str, object] = {"base.weights": "lite_medsam.pth", "base.image_size": 64}
    for stage in range(3):
        changes |= {
            f"stages.{stage}.schedule.epochs": 1,
            f"stages.{stage}.schedule.steps_per_epoch": 1,
            f"stages.{stage}.schedule.warmup_steps": 0,
            f"stages.{stage}.calibration_films": 2,
        }
    for stage in (0, 2):
        changes[f"stages.{stage}.distillation.teacher"] = "medsam_vit_b.pth"
    result = run_to_the_end(call, "qmedsam/published.yaml", changes, tmp_path)
    assert [stage["name"] for stage in result["stages"]] == ["run1", "run2", "run3"]
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    taught = {line["stage"]: "embedding" in line["loss"] for line in lines if line["loss"]}
    assert taught == {"run1": True, "run2": False, "run3": True}
    assert not list((tmp_path / "run").glob("teacher-*"))


@pytest.mark.slow
def test_a_dry_run_of_the_paper_says_what_it_takes(call: Call) -> None:
    """The recipe as it is, but at 256 px and with random weights."""
    base = {"base": {"architecture": "vit_b", "image_size": 256}}
    said = call(
        "train",
        "recipes/paper.yaml",
        "--data",
        "films/manifest.csv",
        "-o",
        "run",
        *settings(base),
        "--dry-run",
    )
    assert "training and" in said
    assert "stage1 (adalora): 20 epochs of 1 steps, 20 in all, of 16 films of 256 px" in said
    assert "36 adapted matrices, 1728, then 1536, then 1344, then 1152 components in all" in said
    assert "stage2 (quantize): 5 epochs of 1 steps" in said
    assert said.count(" M parameters, ") == 2
    assert said.count(" of memory, ") == 2
    assert "in all about " in said
    assert not Path("run").exists()


@pytest.mark.slow
def test_a_dry_run_of_qmedsam_says_what_it_takes(call: Call) -> None:
    """The recipe as it is, but with random weights and the base that ships as teacher."""
    changes = {"base": {"architecture": "lite_medsam"}}
    changes |= {f"stages.{stage}.distillation.teacher": "base" for stage in (0, 2)}
    arguments = ("train", "recipes/qmedsam/published.yaml", "--data", "films/manifest.csv", "-o", "run")
    said = call(*arguments, *settings(changes), "--dry-run")
    for stage in ("run1", "run2", "run3"):
        assert f"{stage} (quantize): 15 epochs of " in said
    assert said.count(" of memory, ") == 3
    assert not Path("run").exists()
