"""Several triggers of one run, compared by the images that each gives: are outfits told apart, or is one everywhere?

For each trigger a few images are generated with the same seeds. All photos and images are embedded by the evaluation's
scorer, and whitened as in `evaluation.likeness`: by the covariance within the triggers' photos, around the base's
images of the class. An image shows the trigger whose photos it is most like by mean cosine. For triggers i and j with
cosines c_i and c_j, the separation is

    mean of (c_i - c_j) over the images of i + mean of (c_j - c_i) over the images of j,

as a share of the same for their photos, each compared with the others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bakehouse.core.events import Event, Progress
from bakehouse.core.files import read_table, write_json
from bakehouse.core.run_folder import Run
from bakehouse.data.captions import all_texts
from bakehouse.data.image_records import ImageRecord
from bakehouse.doctor.facts import Outfit, OutfitFacts
from bakehouse.evaluation.evaluation_inputs import evenly_spaced, generation_settings, pipeline
from bakehouse.evaluation.image_cache import AdapterVariant, ImageCache, ImageGenerator, weight_files
from bakehouse.evaluation.image_scorers import ImageScorer
from bakehouse.evaluation.likeness import Whitening, fit_whitening, own_similarity
from bakehouse.evaluation.metrics import Floats, Interval, mean_interval, proportion, similarity
from bakehouse.evaluation.prompt_set import EvalPrompt
from bakehouse.models.weights_fingerprint import files_fingerprint
from bakehouse.recipe import Recipe
from bakehouse.recipe.words_in_captions import has_word

MAX_PHOTOS = 48
"""Of more photos of a trigger only this many are scored, evenly spaced."""
MIN_CLASS_IMAGES = 8
"""Images of the class that the untouched base generates, around whose mean embeddings are compared."""
SEED = 5000
"""Seed of the first image."""
SAVED = "outfits.json"
EVERYWHERE = 0.9
"""A trigger in this share of all images is what they have in common, such as the character that wears the outfits."""


@dataclass(frozen=True)
class TriggerGroup:
    """A trigger that stands for some of the images."""

    word: str
    prompt: str
    """The triggers that most of its captions begin with, as in a prompt."""
    class_word: str
    photos: tuple[ImageRecord, ...]


def trigger_groups(recipe: Recipe, images: Sequence[ImageRecord]) -> list[TriggerGroup]:
    """Return the triggers that tell images of a run apart; none if there are fewer than two.

    Args:
        recipe: of the run.
        images: of the subject, with the captions that they were trained with.
    """
    heads = {c.trigger_word: c.subject for c in recipe.concepts if c.trigger_word}
    heads |= {t.word: t.head for t in recipe.triggers}
    texts = [all_texts(r.captions, recipe.captions, recipe.concepts[r.concept].subject) for r in images]
    words = [tuple(w for w in heads if any(has_word(line, w) for line in lines)) for lines in texts]
    having = Counter(w for found in words for w in found)
    chosen = [w for w in heads if 0 < having[w] < EVERYWHERE * len(images)]
    if len(chosen) < 2:
        return []
    groups = []
    for word in chosen:
        together = Counter(found for found in words if word in found).most_common(1)[0][0]
        photos = tuple(r for r, found in zip(images, words, strict=True) if word in found)
        class_word = recipe.concepts[photos[0].concept].class_name
        groups.append(TriggerGroup(word, ", ".join(heads[w] for w in together), class_word, photos))
    return groups


def compare_outfits(
    run: Run,
    recipe: Recipe,
    groups: Sequence[TriggerGroup],
    weights: tuple[Path, float],
    *,
    count: int,
    scorer: ImageScorer,
    device: str = "auto",
    generator: ImageGenerator | None = None,
) -> Generator[Event, None, OutfitFacts]:
    """Generate `count` images of each trigger, compare them, and save the result in the run's report/outfits.json.

    Args:
        run: whose report/cache keeps the images.
        recipe: of the run.
        groups: of `trigger_groups`.
        weights: file and strength.
        count: of images for each trigger.
        scorer: embeds the images.
        device: on which images are generated.
        generator: in place of a pipeline on the recipe's base.
    """
    settings = generation_settings(recipe, recipe.evaluate)
    cache = ImageCache(run.report / "cache", generator or pipeline(recipe, run, device), settings)
    wanted = [(AdapterVariant(*weights), _prompts("subject", g.prompt, count)) for g in groups]
    wanted.append((AdapterVariant(), _prompts("class", groups[0].class_word or "person", max(count, MIN_CLASS_IMAGES))))
    missing = [(variant, cache.missing(variant, prompts)) for variant, prompts in wanted]
    total, done = sum(len(prompts) for _, prompts in missing), 0
    for variant, prompts in missing:
        for _ in cache.generate(variant, prompts):
            done += 1
            yield Progress(what="images of each trigger", done=done, total=total)
    photos = [
        cache.score_photos(scorer, [r.path for r in evenly_spaced(g.photos, MAX_PHOTOS)]).embeddings for g in groups
    ]
    *images, of_class = (cache.score(scorer, variant, prompts).embeddings for variant, prompts in wanted)
    facts = measure([g.word for g in groups], [g.prompt for g in groups], photos, images, of_class)
    write_json(run.report / SAVED, {**_key(groups, weights), **_to_json(facts)})
    return facts


def saved_comparison(run: Run, groups: Sequence[TriggerGroup], weights: tuple[Path, float]) -> OutfitFacts | None:
    """Return the comparison that an earlier call saved; None if there is none of these triggers and weights."""
    path = run.report / SAVED
    if not path.is_file():
        return None
    value, key = read_table(path), _key(groups, weights)
    return _from_json(value) if {name: value.get(name) for name in key} == key else None


def _key(groups: Sequence[TriggerGroup], weights: tuple[Path, float]) -> dict[str, Any]:
    """Return what a comparison depends on, for its file."""
    fingerprint = files_fingerprint(weight_files(str(weights[0])))
    return {"version": 1, "weights": fingerprint, "strength": weights[1], "prompts": [g.prompt for g in groups]}


def _to_json(facts: OutfitFacts) -> dict[str, Any]:
    outfits = [
        {
            **{name: getattr(o, name) for name in _PLAIN},
            "in_photos": None if math.isnan(o.in_photos) else o.in_photos,
            "shows": {word: share.to_json() for word, share in o.shows.items()},
        }
        for o in facts.outfits
    ]
    pairs = [{"pair": list(pair), "separation": found.to_json()} for pair, found in facts.separation.items()]
    return {"outfits": outfits, "separation": pairs}


def _from_json(value: Mapping[str, Any]) -> OutfitFacts:
    outfits = [
        Outfit(
            **{name: o[name] for name in _PLAIN},
            in_photos=math.nan if o["in_photos"] is None else float(o["in_photos"]),
            shows={word: Interval.from_json(share) for word, share in o["shows"].items()},
        )
        for o in value["outfits"]
    ]
    pairs = {(p["pair"][0], p["pair"][1]): Interval.from_json(p["separation"]) for p in value["separation"]}
    return OutfitFacts(tuple(outfits), pairs)


_PLAIN = ("word", "prompt", "photos", "images")


def _prompts(series: Literal["subject", "class"], text: str, count: int) -> list[EvalPrompt]:
    return [EvalPrompt(series, text, text, SEED + i) for i in range(count)]


def measure(
    words: Sequence[str],
    prompts: Sequence[str],
    photos: Sequence[Floats],
    images: Sequence[Floats],
    of_class: Floats,
) -> OutfitFacts:
    """Compare the images of triggers by embeddings.

    Args:
        words: the triggers.
        prompts: that gave the images.
        photos: embeddings of each trigger's photos [M, D].
        images: embeddings of each trigger's images [N, D].
        of_class: embeddings of the base's images of the class [K, D].
    """
    whitening = fit_whitening(photos, of_class)
    of_images = [_cosines(rows, photos, whitening) for rows in images]
    of_photos = [_cosines_among(i, photos, of_class) for i in range(len(photos))]
    outfits = []
    for i, word in enumerate(words):
        nearest = of_images[i].argmax(axis=1)
        own = of_photos[i][~np.isnan(of_photos[i]).any(axis=1)]
        outfits.append(
            Outfit(
                word=word,
                prompt=prompts[i],
                photos=len(photos[i]),
                images=len(images[i]),
                shows={w: proportion(nearest == j) for j, w in enumerate(words)},
                in_photos=float((own.argmax(axis=1) == i).mean()) if len(own) else math.nan,
            )
        )
    pairs = [(i, j) for i in range(len(words)) for j in range(i + 1, len(words))]
    return OutfitFacts(
        tuple(outfits), {(words[i], words[j]): _separation(i, j, of_images, of_photos) for i, j in pairs}
    )


def _cosines(rows: Floats, photos: Sequence[Floats], whitening: Whitening) -> Floats:
    """Return each image's mean whitened cosine to every trigger's photos [N, G]."""
    z = whitening(rows)
    return np.stack([similarity(z, whitening(p)) for p in photos], axis=1)


def _cosines_among(own: int, photos: Sequence[Floats], of_class: Floats) -> Floats:
    """Return the same of a trigger's own photos, each compared with the others of its trigger [M, G]."""
    others = [p for j, p in enumerate(photos) if j != own]
    columns = []
    for j, p in enumerate(photos):
        if j == own:
            columns.append(own_similarity(photos[own], others, of_class))
        else:
            whitening = fit_whitening(photos, of_class)
            columns.append(similarity(whitening(photos[own]), whitening(p)))
    return np.stack(columns, axis=1)


def _separation(i: int, j: int, images: Sequence[Floats], photos: Sequence[Floats]) -> Interval:
    """Return how far apart two triggers' images are, as a share of how far apart their photos are."""
    apart = float(np.nanmean(photos[i][:, i] - photos[i][:, j]) + np.nanmean(photos[j][:, j] - photos[j][:, i]))
    count = min(len(images[i]), len(images[j]))
    # Images of one seed are a pair.
    gaps = images[i][:count, i] - images[i][:count, j] + images[j][:count, j] - images[j][:count, i]
    return mean_interval(gaps).scaled(1 / apart if apart > 0 else math.nan)
