from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from bakehouse.cli.captions.compile import TriggerFile
from bakehouse.cli.options import Json, Quiet, Source

if TYPE_CHECKING:
    from pathlib import Path

    from bakehouse.captions.triggers import Explanation


def explain(source: Source, triggers: TriggerFile = None, json: Json = False, quiet: Quiet = False) -> None:
    """Print what each trigger will learn.

    Exit code 1 if triggers cannot be distinguished.
    """
    from bakehouse.cli.render.consoles import spinner
    from bakehouse.cli.render.triggers import print_explanation

    with spinner("reading images", quiet=quiet or json):
        explanation = _of_folder(source, triggers) if source.is_dir() else _of_recipe(source)
    print_explanation(explanation, json=json, quiet=quiet)
    if explanation.errors:
        raise typer.Exit(1)


def _of_recipe(path: Path) -> Explanation:
    """Explain a recipe's triggers, with the repeats of its plan."""
    from bakehouse.captions.triggers import explain as explained
    from bakehouse.core.errors import UsageError
    from bakehouse.recipe import Recipe, make_plan, scan_concepts
    from bakehouse.recipe.compile_recipe_captions import compile_recipe, compiled_images

    recipe = Recipe.load(path)
    if not recipe.triggers:
        raise UsageError(f"{path} declares no triggers", hint='add [[triggers]] with word = "zwx" to it')
    images = scan_concepts(recipe)
    # The plan refuses indistinguishable triggers; here they are the result, so the plan is only used for the repeats.
    plan = make_plan(recipe.model_copy(update={"triggers": ()}), compiled_images(recipe, images))
    repeats = [image.repeats for image in plan.subject_images]
    return explained(compile_recipe(recipe, images), recipe.triggers, repeats)


def _of_folder(folder: Path, given: Path | None) -> Explanation:
    """Explain a folder's triggers; of a run's folder those of its recipe."""
    if (folder / "recipe.toml").is_file():
        return _of_recipe(folder / "recipe.toml")
    from bakehouse.captions.triggers import FolderTriggers

    return FolderTriggers.of(folder, given).explain()
