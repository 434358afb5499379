"""A network without prompts from recipe to bundle, as a person meets it, and masks from elsewhere."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from adaloraqat.training import parse_recipe
from adaloraqat.training.recipe import SHIPPED_RECIPES

RECIPE = {
    "name": "little",
    "base": {"architecture": {"family": "unet", "image_size": 32, "features": [4, 4, 4, 4, 4, 4]}},
    "prompts": {"whole_film": 1.0, "one_lung": 0.0},
    "stages": [
        {
            "name": "train",
            "kind": "full",
            "schedule": {"epochs": 2, "batch_size": 4, "steps_per_epoch": 8},
            "learning_rates": {"encoder": 1e-2},
            "augmentation": 0.3,
        }
    ],
}


def test_its_bundle_says_that_it_takes_no_box_and_segment_refuses_one(here: Path, run: Any) -> None:
    ended = run("export", "run", "--out", "bundle")
    assert ended.code == 0, ended.err
    document = json.loads((here / "bundle/bundle.json").read_text())
    assert document["prompt"] == {"accepts_box": False, "quality_trained": False, "second_pass": False}
    assert document["precision"]["policy"] == "fp32"
    assert set(document["parity"]) == {"measured", "no_box"}
    assert document["parity"]["no_box"]["onnxruntime"]["dice"] > 0.999
    assert json.loads(run("info", "bundle", "--json").out)["prompt"]["accepts_box"] is False
    film = next((here / "films").rglob("images/*"))
    assert run("segment", film, "--model", "bundle", "--json").code == 0
    refused = run("segment", film, "--model", "bundle", "--box", 1, 1, 40, 40)
    assert refused.code == 2
    assert (
        refused.err.strip() == "The model 'little' takes no box: leave the box out, or choose another model."
    )


def test_an_integer_bundle_of_it_is_refused(here: Path, run: Any) -> None:
    refused = run("export", "run", "--out", "bundle", "--precision", "int8")
    assert refused.code == 2
    assert "--precision fp32" in refused.err
    assert not (here / "bundle").exists()


def test_evaluate_scores_it_without_a_box_only(here: Path, run: Any) -> None:
    ended = run("evaluate", "run", "--data", "films/manifest.csv", "--split", "all", "--out", "scores")
    assert ended.code == 0, ended.err
    with (here / "scores/films.csv").open() as stream:
        assert {row["prompt"] for row in csv.DictReader(stream)} == {"no_box"}
    assert not (here / "scores/masks/run-train/true_box").exists()


def test_saved_masks_score_as_the_model_that_made_them_and_a_missing_one_counts(here: Path, run: Any) -> None:
    data = ("--data", "films/manifest.csv", "--split", "all")
    assert run("evaluate", "run", *data, "--out", "scores").code == 0
    made = here / "scores/masks/run-train/no_box"
    labels = here / "labels"  # as nnU-Net writes them: 0 and 1, named by the film
    labels.mkdir()
    for path in made.iterdir():
        values = (np.asarray(Image.open(path)) > 0).astype(np.uint8)
        Image.fromarray(values).save(labels / path.name.replace("_mask.png", ".png"))
    assert run("evaluate", "--predictions", "nnunet=labels", *data, "--out", "again").code == 0
    first, second = (
        next(iter(json.loads((here / folder / "evaluation.json").read_text())["models"].values()))
        for folder in ("scores", "again")
    )
    assert first == second
    next(labels.iterdir()).unlink()
    ended = run("evaluate", "run", "--predictions", "nnunet=labels", *data, "--out", "third")
    assert ended.code == 1
    document = json.loads((here / "third/evaluation.json").read_text())
    assert document["models"]["nnunet"]["phantom-standard"]["no_box"]["failed"] == 1
    assert document["comparisons"]["rows"][0]["prompt"] == "no_box"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "nothing to score"),
        (("--predictions", "labels"), "NAME=DIR"),
        (("--predictions", "x=nowhere"), "no prediction of these films"),
    ],
)
def test_predictions_that_cannot_be_used(here: Path, run: Any, arguments: tuple[str, ...], says: str) -> None:
    ended = run("evaluate", *arguments, "--data", "films/manifest.csv", "--split", "all", "--out", "scores")
    assert ended.code == 2
    assert says in ended.err


def test_robustness_as_a_command(here: Path, run: Any) -> None:
    data = ("--data", "films/manifest.csv", "--split", "all", "--limit", 2, "--out", "robust")
    ended = run("robustness", "run", *data, "--corruption", "rotated_5", "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert [(row["condition"], row["films"]) for row in document["rows"]] == [("clean", 2), ("rotated_5", 2)]
    assert "no corruption" in run("robustness", "run", *data, "--corruption", "wet").err


def test_every_baseline_recipe_is_valid() -> None:
    recipes = sorted((SHIPPED_RECIPES / "baselines").glob("*.yaml"))
    assert len(recipes) >= 12
    for path in recipes:
        text = path.read_text()
        recipe = parse_recipe(yaml.safe_load(text), path.name)
        assert recipe.name == path.stem
        assert text.startswith(f"# adaloraqat train recipes/baselines/{path.name} ")


def test_info_counts_a_baseline(run: Any) -> None:
    document = json.loads(run("info", "tiny-unet", "--json").out)
    assert document["architecture"]["family"] == "unet"
    assert document["parameters"]["total"] == 97_897
