"""Recipes, the one training loop, stage kinds and losses, and the run folder."""

# Imported to be known to recipes; a refusal lists them in this order.
from adaloraqat.training.kinds import full, adalora, lora, average, quantize  # noqa: F401, I001
from adaloraqat.training.recipe import Recipe, load_recipe, parse_recipe

__all__ = ["Recipe", "load_recipe", "parse_recipe"]
