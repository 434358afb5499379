"""The published schema of recipes is the code's, and agrees with `load_recipe` on right and wrong."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from adaloraqat.errors import RecipeError
from adaloraqat.training import parse_recipe, recipe
from adaloraqat.training.recipe import SHIPPED_RECIPES

PUBLISHED = json.loads(Path(recipe.__file__).with_name(recipe.SCHEMA).read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(PUBLISHED)
PAPER = yaml.safe_load((SHIPPED_RECIPES / "paper.yaml").read_text())


def test_the_published_file_is_the_generated_one() -> None:
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)
    generated = recipe.recipe_schema()
    assert generated == PUBLISHED, "write json.dumps(recipe_schema(), indent=2, ensure_ascii=False) to it"


def test_recipes_that_ship_are_valid() -> None:
    paths = [path for path in SHIPPED_RECIPES.rglob("*.yaml") if path.parent.name != "tables"]
    assert len(paths) > 10
    for path in paths:
        VALIDATOR.validate(yaml.safe_load(path.read_text()))


def _unknown_key(recipe: dict[str, Any]) -> None:
    recipe["stages"][0]["r_maximum"] = 8


def _key_of_another_kind(recipe: dict[str, Any]) -> None:
    recipe["stages"][-1]["r_max"] = 8


def _no_kind(recipe: dict[str, Any]) -> None:
    del recipe["stages"][0]["kind"]


def _impossible_value(recipe: dict[str, Any]) -> None:
    recipe["stages"][0]["schedule"] = {"epochs": 0}


def _no_stage(recipe: dict[str, Any]) -> None:
    recipe["stages"] = []


@pytest.mark.parametrize(
    "change", [_unknown_key, _key_of_another_kind, _no_kind, _impossible_value, _no_stage]
)
def test_both_refuse_what_is_wrong(change: Any) -> None:
    recipe = copy.deepcopy(PAPER)
    change(recipe)
    assert not VALIDATOR.is_valid(recipe)
    with pytest.raises(RecipeError):
        parse_recipe(recipe)
