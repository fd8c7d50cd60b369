"""The captions of a recipe that declares triggers: compiled in memory, no file is changed."""

from __future__ import annotations

from collections.abc import Sequence

from bakehouse.data.compile_captions import CompiledImage, compile_captions, inseparable_pairs, with_compiled
from bakehouse.data.image_records import ImageSet
from bakehouse.recipe.recipe import Recipe

MARK = "|||"
"""Separates triggers from tags that may be moved, where images have different numbers of triggers."""


def compile_recipe(recipe: Recipe, images: ImageSet) -> tuple[CompiledImage, ...]:
    """Return each image with its raw captions and the captions compiled with the recipe's triggers.

    Raises:
        Problems: triggers that do not fit the images.
    """
    return compile_captions(images, recipe.triggers, [c.folder for c in recipe.concepts])


def compiled_images(recipe: Recipe, images: ImageSet) -> ImageSet:
    """Return the set with compiled captions; unchanged if the recipe declares no triggers."""
    if not recipe.triggers:
        return images
    compiled = compile_recipe(recipe, images)
    mark = recipe.captions.keep_tokens_separator or (
        MARK if tags_move(recipe) and leading_trigger_count(compiled) is None else ""
    )
    return with_compiled(images, compiled, mark)


def tags_move(recipe: Recipe) -> bool:
    """Whether training shuffles or drops tags, so that the triggers have to be kept in front."""
    captions = recipe.captions
    given = {"keep_tokens", "keep_tokens_separator"} & captions.model_fields_set
    return not given and (captions.shuffle or captions.tag_dropout > 0 or captions.token_warmup_step > 0)


def leading_trigger_count(compiled: Sequence[CompiledImage]) -> int | None:
    """Return the number of triggers at the beginning of every caption; None if captions differ in it."""
    heads = {len(w.head) for c in compiled for w in c.wordings}
    return heads.pop() if len(heads) == 1 else None


def inseparable_trigger_messages(recipe: Recipe, images: ImageSet) -> list[str]:
    """Return a message for each pair of triggers that are always in the same captions."""
    if not recipe.triggers:
        return []
    return [
        f"triggers {a!r} and {b!r} stand in the very same captions, so both would come to mean both: split the images "
        f"(share = 0.5 at {b!r}, from 80 images), or show each with and without it (also_without = true at {b!r}); "
        "`bakehouse triggers explain` has the prices"
        for a, b in inseparable_pairs(compile_recipe(recipe, images))
    ]
