"""The JSON Schema of a recipe, made from the classes that check one; editors complete and check by it."""

import operator
from functools import reduce
from typing import Annotated, Any

from pydantic import Field, create_model

from adaloraqat.training.kinds.base import KINDS
from adaloraqat.training.recipe import Recipe

PUBLISHED = "recipe.schema.json"
"""The schema as a file beside this one."""


def recipe_schema() -> dict[str, Any]:
    """Return the schema (JSON Schema, draft 2020-12) of a recipe whose stages are of this package's kinds.

    What depends on several keys at once, such as the order of stages, is checked by `load_recipe` alone.
    """
    own = [kind for kind in KINDS.values() if kind.__module__.startswith("adaloraqat.")]
    stage: Any = Annotated[reduce(operator.or_, own), Field(discriminator="kind")]
    # a recipe learns its kinds only when it is read; a schema must name them
    named = create_model("Recipe", __base__=Recipe, stages=(tuple[stage, ...], Field(min_length=1)))
    schema = {**named.model_json_schema(), "title": "A recipe of adaloraqat", "description": Recipe.__doc__}
    for kind in own:
        # without it a stage would be of several kinds at once, by their defaults
        schema["$defs"][kind.__name__].setdefault("required", []).append("kind")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
