"""Folders of a dataset for the concepts of a recipe."""

from __future__ import annotations

from pathlib import Path

from bakehouse.core.errors import UsageError


def folders_of(recipe: Path, dataset: Path) -> dict[str, str]:
    """Return the folder (relative to the dataset) of each concept of a recipe, by its trigger.

    Raises:
        UsageError: a concept without a trigger, or with a folder outside the dataset.
    """
    from bakehouse.recipe import Recipe

    root, found = dataset.resolve(), {}
    for i, concept in enumerate(Recipe.load(recipe).concepts):
        here = concept.folder.resolve()
        if not here.is_relative_to(root) or here == root:
            raise UsageError(
                f"{recipe}: concepts.{i}.folder = {concept.folder} is not a folder inside {dataset}",
                hint="name the folder that contains the folders of all concepts",
            )
        if not concept.trigger_word:
            raise UsageError(
                f"{recipe}: concepts.{i} has no trigger to sort by", hint='add subject = "zwx person" to it'
            )
        found[concept.trigger_word] = here.relative_to(root).as_posix()
    return found
