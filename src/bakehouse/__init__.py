"""Teach Stable Diffusion a subject: from a folder of images to a trained and evaluated model.

    import bakehouse

    recipe = bakehouse.recipe_for_folder("photos", "zwx person")
    for event in bakehouse.train(recipe, "runs/zwx"):
        ...

Names and packages are imported when they are first used, so `import bakehouse` itself costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bakehouse.core.errors import BakehouseError as BakehouseError
    from bakehouse.core.errors import UsageError as UsageError
    from bakehouse.core.events import Event as Event
    from bakehouse.core.run_folder import Run as Run
    from bakehouse.generation import ImageRequest as ImageRequest
    from bakehouse.generation import Pipeline as Pipeline
    from bakehouse.generation import make_grid as make_grid
    from bakehouse.models import load_model as load_model
    from bakehouse.recipe import Plan as Plan
    from bakehouse.recipe import Recipe as Recipe
    from bakehouse.recipe import make_plan as make_plan
    from bakehouse.recipe import plan_to_toml as plan_to_toml
    from bakehouse.recipe import plan_to_toml as to_toml  # noqa: F401
    from bakehouse.recipe import recipe_for_folder as recipe_for_folder
    from bakehouse.recipe import recipe_for_slider as recipe_for_slider
    from bakehouse.recipe import scan_concepts as scan_concepts
    from bakehouse.training import train as bake  # noqa: F401
    from bakehouse.training import train as train

__version__ = "0.1.0"

_HOMES = {
    "BakehouseError": "core.errors",
    "Event": "core.events",
    "ImageRequest": "generation",
    "Pipeline": "generation",
    "Plan": "recipe",
    "Recipe": "recipe",
    "Run": "core.run_folder",
    "UsageError": "core.errors",
    "load_model": "models",
    "make_grid": "generation",
    "make_plan": "recipe",
    "plan_to_toml": "recipe",
    "recipe_for_folder": "recipe",
    "recipe_for_slider": "recipe",
    "scan_concepts": "recipe",
    "train": "training",
}
_EARLIER_NAMES = {"Request": "ImageRequest", "Studio": "Pipeline", "bake": "train", "to_toml": "plan_to_toml"}
"""Names of version 0.1 and what they are called now. They still work."""
_PACKAGES = (
    "adapters", "audit", "captions", "core", "curation", "data", "doctor", "evaluation", "generation", "losses",
    "models", "publish", "queue", "recipe", "synthesis", "training", "vision", "weights",
)  # fmt: skip

__all__ = ["__version__", *_HOMES, *_EARLIER_NAMES, *_PACKAGES]


def __getattr__(name: str) -> Any:
    """Find a public name in its package, and a package by its name."""
    name = _EARLIER_NAMES.get(name, name)
    if name in _HOMES:
        return getattr(importlib.import_module(f"bakehouse.{_HOMES[name]}"), name)
    if name in _PACKAGES:
        return importlib.import_module(f"bakehouse.{name}")
    raise AttributeError(f"module 'bakehouse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
