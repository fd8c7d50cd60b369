"""Which class images a run needs: made by the base model, named by what they were made with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bakehouse.core.files import key_of
from bakehouse.data.buckets import Placement
from bakehouse.data.image_records import ImageSet
from bakehouse.recipe.recipe import ConceptSpec, Recipe


@dataclass(frozen=True)
class ClassImage:
    """One picture to make: same fields, same picture, so it is made once and found again."""

    prompt: str
    width: int
    height: int
    seed: int
    steps: int
    guidance: float
    sampler: str
    clip_skip: int = 1
    max_tokens: int = 75

    def key(self, model_key: str) -> str:
        """Names the folder of all pictures that differ in their seed alone; `model_key`: what the model is."""
        return key_of("class image 2", model_key, *self._look, self.clip_skip, self.max_tokens)

    @property
    def noise_seed(self) -> int:
        """Different prompts get different noise, or a set of class images would share its compositions."""
        return int(key_of("class image 1", "", *self._look)[:8], 16) + self.seed

    @property
    def _look(self) -> tuple[object, ...]:
        return self.prompt, self.width, self.height, self.steps, self.guidance, self.sampler


def class_images(
    recipe: Recipe, images: ImageSet, placements: Sequence[Placement], repeats: Sequence[int]
) -> tuple[ClassImage, ...]:
    """The class images of a recipe: in the shapes of the subject's buckets, in their proportion."""
    prior = recipe.prior
    if prior.source == "captions":
        seeds: Counter[tuple[str, int, int]] = Counter()
        made = []
        for record, placement in zip(images, placements, strict=True):
            concept = recipe.concepts[record.concept]
            caption = record.captions[0] if record.captions else concept.subject
            prompt = without_trigger(caption, concept, [t.word for t in recipe.triggers])
            name = (prompt, *placement.bucket)
            made.append(_image(recipe, prompt, placement.bucket, seeds[name]))
            seeds[name] += 1
        return tuple(made)
    if prior.source == "class":
        made = []
        for number, concept in enumerate(recipe.concepts):
            mine = [(p.bucket, n) for r, p, n in zip(images, placements, repeats, strict=True) if r.concept == number]
            shows: Counter[tuple[int, int]] = Counter()
            for bucket, n in mine:
                shows[bucket] += n
            for bucket, count in _shares(shows, prior.images or 1).items():
                prompt = prior.prompt or concept.class_name
                made += [_image(recipe, prompt, bucket, seed) for seed in range(count)]
        return tuple(made)
    return ()


def without_trigger(caption: str, concept: ConceptSpec, others: Sequence[str] = ()) -> str:
    """The caption as the base would have it: `zwx person, winking` becomes `person, winking`; `others` go as well."""
    words = [w for w in (concept.trigger_word, *others) if w]
    if not words:
        return caption
    bare = caption.replace("|||", ",")
    for word in sorted(words, key=len, reverse=True):
        bare = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", " ", bare, flags=re.IGNORECASE)
    if concept.class_name and not re.search(rf"(?<!\w){re.escape(concept.class_name)}(?!\w)", bare, re.IGNORECASE):
        bare = f"{concept.class_name}, {bare}"
    tags = (" ".join(tag.split()) for tag in bare.split(","))
    return ", ".join(tag for tag in tags if tag)


def _image(recipe: Recipe, prompt: str, bucket: tuple[int, int], seed: int) -> ClassImage:
    """Prompts are read as the training will read them: what is preserved is what the base draws for that reading."""
    prior, model = recipe.prior, recipe.model
    width, height = bucket
    return ClassImage(
        prompt, width, height, seed, prior.steps, prior.guidance, prior.sampler, model.clip_skip, model.max_tokens
    )


def _shares(weights: Counter[tuple[int, int]], total: int) -> dict[tuple[int, int], int]:
    """`total` split in proportion, at least one each (largest remainders)."""
    whole = sum(weights.values())
    exact = {k: total * w / whole for k, w in sorted(weights.items())}
    shares = {k: max(1, int(x)) for k, x in exact.items()}
    for k in sorted(exact, key=lambda k: int(exact[k]) - exact[k]):
        if sum(shares.values()) >= total:
            break
        shares[k] += 1
    return shares
