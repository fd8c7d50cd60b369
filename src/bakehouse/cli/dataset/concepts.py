"""A recipe's concepts as folders of a dataset."""

from __future__ import annotations

from pathlib import Path

from bakehouse.core.errors import UsageError


def folders_of(recipe: Path, dataset: Path) -> dict[str, str]:
    """The folder below the dataset of each concept of a recipe, by its trigger.

    Raises:
        UsageError: a concept without a trigger, or whose folder lies elsewhere.
    """
    from bakehouse.recipe import Recipe

    root, found = dataset.resolve(), {}
    for i, concept in enumerate(Recipe.load(recipe).concepts):
        here = concept.folder.resolve()
        if not here.is_relative_to(root) or here == root:
            raise UsageError(
                f"{recipe}: concepts.{i}.folder = {concept.folder} is no folder below {dataset}",
                hint="sort the folder that holds the folders of all concepts",
            )
        if not concept.trigger_word:
            raise UsageError(f"{recipe}: concepts.{i} has no trigger to sort by", hint="give it a subject")
        found[concept.trigger_word] = here.relative_to(root).as_posix()
    return found
