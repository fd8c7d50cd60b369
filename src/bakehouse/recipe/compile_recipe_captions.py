"""The captions of a recipe that declares triggers: compiled in memory, no file is changed."""

from __future__ import annotations

from collections.abc import Sequence

from bakehouse.data.compile_captions import CompiledImage, compile_captions, inseparable_pairs, with_compiled
from bakehouse.data.image_records import ImageSet
from bakehouse.recipe.recipe import Recipe

MARK = "|||"
"""Between triggers and what may be moved, where images have different numbers of triggers."""


def compile_recipe(recipe: Recipe, images: ImageSet) -> tuple[CompiledImage, ...]:
    """Every image with its raw captions and what the triggers make of them.

    Raises:
        Problems: triggers that do not fit the images.
    """
    return compile_captions(images, recipe.triggers, [c.folder for c in recipe.concepts])


def compiled_images(recipe: Recipe, images: ImageSet) -> ImageSet:
    """The set with compiled captions; as it is where the recipe declares no triggers."""
    if not recipe.triggers:
        return images
    compiled = compile_recipe(recipe, images)
    mark = recipe.captions.keep_tokens_separator or (MARK if moves(recipe) and kept(compiled) is None else "")
    return with_compiled(images, compiled, mark)


def moves(recipe: Recipe) -> bool:
    """Whether tags are shuffled or dropped in training, so that the triggers have to be held."""
    captions = recipe.captions
    given = {"keep_tokens", "keep_tokens_separator"} & captions.model_fields_set
    return not given and (captions.shuffle or captions.tag_dropout > 0 or captions.token_warmup_step > 0)


def kept(compiled: Sequence[CompiledImage]) -> int | None:
    """How many tags at the beginning are triggers; None where captions differ in it."""
    heads = {len(w.head) for c in compiled for w in c.wordings}
    return heads.pop() if len(heads) == 1 else None


def not_apart(recipe: Recipe, images: ImageSet) -> list[str]:
    """Pairs of triggers that could never be told apart, one line each."""
    if not recipe.triggers:
        return []
    return [
        f"triggers {a!r} and {b!r} stand in the very same captions, so both would come to mean both: split the images "
        f"(share = 0.5 at {b!r}, from 80 images), or show each with and without it (also_without = true at {b!r}); "
        "`bakehouse triggers explain` has the prices"
        for a, b in inseparable_pairs(compile_recipe(recipe, images))
    ]
