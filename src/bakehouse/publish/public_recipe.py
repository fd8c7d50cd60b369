"""A run's recipe without its owner's paths: folders of this machine, and where copies are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bakehouse.recipe import Recipe, recipe_to_toml


def public_recipe(recipe: Recipe, base: str) -> str:
    """Return the recipe as TOML, with the names of folders and files in place of their paths.

    Args:
        base: the base model as a reader finds it.
    """
    changes: dict[str, Any] = {"model.base": base}
    if recipe.save.mirror is not None:
        changes["save.mirror"] = None
    for i, concept in enumerate(recipe.concepts):
        changes[f"concepts.{i}.folder"] = concept.folder.name or "photos"
    paths = {
        "prior.folder": recipe.prior.folder,
        "evaluate.holdout": recipe.evaluate.holdout,
        "adapter.start": getattr(recipe.adapter, "start", None),
        "model.vae": recipe.model.vae if recipe.model.vae and Path(recipe.model.vae).is_absolute() else None,
    }
    changes |= {key: Path(path).name for key, path in paths.items() if path is not None}
    return recipe_to_toml(recipe.with_values(changes))
