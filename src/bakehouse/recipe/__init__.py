"""Recipes, and the plans made from them."""

from bakehouse.recipe.decisions import Decision
from bakehouse.recipe.from_folder import recipe_for_folder, short_settings
from bakehouse.recipe.from_prompts import recipe_for_slider
from bakehouse.recipe.plan import Plan, PlannedImage, make_plan, scan_concepts
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.write_recipe import plan_to_toml, recipe_to_toml

__all__ = [
    "Decision",
    "Plan",
    "PlannedImage",
    "Recipe",
    "make_plan",
    "plan_to_toml",
    "recipe_for_folder",
    "recipe_for_slider",
    "recipe_to_toml",
    "scan_concepts",
    "short_settings",
]
