"""Recipes, the one training loop, its stages and losses, and the run folder."""

from adaloraqat.training.recipe import Recipe, load_recipe, parse_recipe

__all__ = ["Recipe", "load_recipe", "parse_recipe"]
