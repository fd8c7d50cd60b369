"""Several triggers in one run: whether the images generated with each show its own group of photos, or another.

A group is the photos with the same triggers: an outfit, the character without an outfit's word, several characters
together. For each group images are generated with its triggers and the same seeds. All photos and images are embedded
by the evaluation's scorer, and whitened as in `likeness`, by the covariance within the groups' photos.

An image shows the group with the most similar photos, by the mean cosine to the two nearest: the clothes of a character
without an outfit's word vary, so that a mean over all its photos would say little. Embeddings are centred on the mean
of the groups, so that what all of them share, such as the character, does not count. The separation of groups i and j,
with mean cosines c_i and c_j to their photos and embeddings centred on the base's images of the class, is

    mean of (c_i - c_j) over the images of i + mean of (c_j - c_i) over the images of j,

as a share of the same for their photos, each compared with the others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bakehouse.core.events import Event, Progress
from bakehouse.core.files import read_table, write_json
from bakehouse.core.run_folder import Run
from bakehouse.data.captions import all_texts
from bakehouse.data.image_records import ImageRecord
from bakehouse.evaluation.evaluation_inputs import evenly_spaced, generation_settings, pipeline
from bakehouse.evaluation.image_cache import AdapterVariant, ImageCache, ImageGenerator, weight_files
from bakehouse.evaluation.image_scorers import ImageScorer
from bakehouse.evaluation.likeness import FOLDS, Whitening, fit_whitening, own_similarity
from bakehouse.evaluation.metrics import (
    Floats,
    Interval,
    mean_interval,
    nan_if_null,
    null_if_nan,
    proportion,
    similarity,
)
from bakehouse.evaluation.prompt_set import EvalPrompt, place_templates
from bakehouse.models.families import family_of
from bakehouse.models.weights_fingerprint import files_fingerprint
from bakehouse.recipe import Recipe
from bakehouse.recipe.words_in_captions import has_word

MAX_PHOTOS = 48
"""Of more photos of a group only this many are scored, evenly spaced."""
MIN_CLASS_IMAGES = 8
"""Images of the class that the untouched base generates, around whose mean embeddings are compared."""
SEED = 5000
"""Seed of the first image."""
SAVED = "words.json"
EVERYWHERE = 0.9
"""A trigger in this share of all images is what they have in common, such as the character that wears the outfits."""
LEAST_PHOTOS = 3
"""Fewer photos with the same triggers are not a group: their captions lack a word."""
NEAREST = 2
"""Photos of a group with which an image is compared, its nearest."""


@dataclass(frozen=True)
class TriggerGroup:
    """The photos that have the same triggers."""

    word: str
    """The triggers that distinguish it from other groups; if there are none, as for a character in other clothes, the
    triggers that it shares with the others."""
    prompt: str
    """All triggers that its captions begin with, as in a prompt."""
    class_word: str
    photos: tuple[ImageRecord, ...]


@dataclass(frozen=True)
class TriggerGroupScores:
    """A group, and what the images generated with its triggers show."""

    word: str
    prompt: str
    photos: int
    images: int
    shows: Mapping[str, Interval]
    """Share of its images that show each group, by the group's word."""
    in_photos: float
    """Share of its own photos that show it, compared with its other photos: how well the scorer separates groups."""
    pictures: tuple[str, ...] = ()
    """Paths of its images, relative to the run's report folder."""
    examples: tuple[str, ...] = ()
    """Paths of its photos."""

    @property
    def own(self) -> Interval:
        """Share of its images that show it."""
        return self.shows[self.word]


@dataclass(frozen=True)
class TriggerScores:
    """The groups of a run, compared by the images generated with their triggers."""

    groups: tuple[TriggerGroupScores, ...]
    separation: Mapping[tuple[str, str], Interval]
    """For each pair: how far apart their images are, as a share of how far apart their photos are."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        groups = [
            {
                **{name: getattr(o, name) for name in _PLAIN},
                "in_photos": null_if_nan(o.in_photos),
                "shows": {word: share.to_json() for word, share in o.shows.items()},
                "pictures": list(o.pictures),
                "examples": list(o.examples),
            }
            for o in self.groups
        ]
        pairs = [{"pair": list(pair), "separation": found.to_json()} for pair, found in self.separation.items()]
        return {"groups": groups, "separation": pairs}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TriggerScores:
        groups = [
            TriggerGroupScores(
                **{name: o[name] for name in _PLAIN},
                in_photos=nan_if_null(o["in_photos"]),
                shows={word: Interval.from_json(share) for word, share in o["shows"].items()},
                pictures=tuple(o["pictures"]),
                examples=tuple(o["examples"]),
            )
            for o in value["groups"]
        ]
        pairs = {(p["pair"][0], p["pair"][1]): Interval.from_json(p["separation"]) for p in value["separation"]}
        return TriggerScores(tuple(groups), pairs)


_PLAIN = ("word", "prompt", "photos", "images")


def trigger_groups(recipe: Recipe, images: Sequence[ImageRecord]) -> list[TriggerGroup]:
    """Return the groups of photos that a run's triggers distinguish; none if there are fewer than two.

    Args:
        recipe: of the run.
        images: of the subject, with the captions that they were trained with.
    """
    declared = {t.word: t.head for t in recipe.triggers}
    heads = {c.trigger_word: c.subject for c in recipe.concepts if c.trigger_word and c.trigger_word not in declared}
    heads |= declared
    texts = [all_texts(r.captions, recipe.captions, recipe.concepts[r.concept].subject) for r in images]
    words = [tuple(w for w in heads if any(has_word(line, w) for line in lines)) for lines in texts]
    having = Counter(w for found in words for w in found)
    telling = [w for w in heads if 0 < having[w] < EVERYWHERE * len(images)]
    found: dict[tuple[str, ...], list[ImageRecord]] = {}
    for record, own in zip(images, words, strict=True):
        if own:
            found.setdefault(own, []).append(record)
    groups = [
        TriggerGroup(
            ", ".join([w for w in own if w in telling] or own),
            ", ".join(heads[w] for w in own),
            recipe.concepts[photos[0].concept].class_name or _class_of(recipe, own),
            tuple(photos),
        )
        for own, photos in sorted(found.items(), key=lambda item: [list(heads).index(w) for w in item[0]])
        if len(photos) >= LEAST_PHOTOS
    ]
    return groups if telling and len(groups) > 1 else []


def _class_of(recipe: Recipe, words: Sequence[str]) -> str:
    """Return the class word of the first trigger that has one."""
    return next((t.class_word for t in recipe.triggers if t.word in words and t.class_word), "")


def score_triggers(
    run: Run,
    recipe: Recipe,
    groups: Sequence[TriggerGroup],
    weights: tuple[Path, float],
    *,
    count: int,
    scorer: ImageScorer,
    device: str = "auto",
    generator: ImageGenerator | None = None,
    cache: ImageCache | None = None,
) -> Generator[Event, None, TriggerScores]:
    """Generate `count` images of each group, compare them, and save the result in the run's report/words.json.

    Args:
        run: whose report/cache keeps the images.
        recipe: of the run.
        groups: of `trigger_groups`.
        weights: file and strength.
        count: of images for each group.
        scorer: embeds the images.
        device: on which images are generated.
        generator: in place of a pipeline on the recipe's base.
        cache: of an evaluation that has just run, in place of one made from `device` and `generator`.
    """
    if cache is None:
        settings = generation_settings(recipe, recipe.evaluate)
        cache = ImageCache(run.report / "cache", generator or pipeline(recipe, run, device), settings)
    wanted = [(AdapterVariant(*weights), prompts_of(recipe, g.prompt, count)) for g in groups]
    of_class = prompts_of(recipe, groups[0].class_word or "person", max(count, MIN_CLASS_IMAGES), series="class")
    wanted.append((AdapterVariant(), of_class))
    missing = [(variant, cache.missing(variant, prompts)) for variant, prompts in wanted]
    total, done = sum(len(prompts) for _, prompts in missing), 0
    for variant, prompts in missing:
        for _ in cache.generate(variant, prompts):
            done += 1
            yield Progress(what="images of each word", done=done, total=total)
    photos = [
        cache.score_photos(scorer, [r.path for r in evenly_spaced(g.photos, MAX_PHOTOS)]).embeddings for g in groups
    ]
    *images, of_base = (cache.score(scorer, variant, prompts).embeddings for variant, prompts in wanted)
    facts = measure([g.word for g in groups], [g.prompt for g in groups], photos, images, of_base)
    facts = replace(
        facts,
        groups=tuple(
            replace(
                asked,
                pictures=tuple(p.relative_to(run.report).as_posix() for p in cache.paths(variant, prompts)),
                examples=tuple(str(r.path) for r in evenly_spaced(group.photos, MAX_PHOTOS)),
            )
            for asked, group, (variant, prompts) in zip(facts.groups, groups, wanted, strict=False)
        ),
    )
    write_json(run.report / SAVED, {**_key(groups, weights), **facts.to_json()})
    return facts


def saved_trigger_scores(run: Run, groups: Sequence[TriggerGroup], weights: tuple[Path, float]) -> TriggerScores | None:
    """Return what an earlier call saved; None if there is nothing of these groups and weights."""
    path = run.report / SAVED
    if not path.is_file():
        return None
    value, key = read_table(path), _key(groups, weights)
    return TriggerScores.from_json(value) if {name: value.get(name) for name in key} == key else None


def _key(groups: Sequence[TriggerGroup], weights: tuple[Path, float]) -> dict[str, Any]:
    """Return what a comparison depends on, for its file."""
    fingerprint = files_fingerprint(weight_files(str(weights[0])))
    return {"version": 3, "weights": fingerprint, "strength": weights[1], "prompts": [g.prompt for g in groups]}


def prompts_of(
    recipe: Recipe, words: str, count: int, series: Literal["subject", "class"] = "subject"
) -> list[EvalPrompt]:
    """Return `count` prompts for words in several places, the first few without any; seeds differ, places repeat."""
    crumb = family_of(recipe.model.base).bundled
    texts = [template.format(words) for template in place_templates(crumb, recipe.evaluate.prompts)]
    return [EvalPrompt(series, texts[i % len(texts)], texts[i % len(texts)], SEED + i) for i in range(count)]


def measure(
    words: Sequence[str],
    prompts: Sequence[str],
    photos: Sequence[Floats],
    images: Sequence[Floats],
    of_class: Floats,
) -> TriggerScores:
    """Compare the images of groups by embeddings.

    Args:
        words: of each group.
        prompts: that gave the images.
        photos: embeddings of each group's photos [M, D].
        images: embeddings of each group's images [N, D].
        of_class: embeddings of the base's images of the class [K, D].
    """
    whitening = fit_whitening(photos, of_class)
    of_images = [_cosines(rows, photos, whitening) for rows in images]
    of_photos = [_cosines_among(i, photos, of_class) for i in range(len(photos))]
    between = np.stack([np.asarray(p).mean(axis=0) for p in photos])
    telling = fit_whitening(photos, between)
    asked = []
    for i, word in enumerate(words):
        nearest = _nearest(telling(images[i]), [telling(p) for p in photos])
        found = _photos_shown(i, photos, between)
        asked.append(
            TriggerGroupScores(
                word=word,
                prompt=prompts[i],
                photos=len(photos[i]),
                images=len(images[i]),
                shows={w: proportion(nearest == j) for j, w in enumerate(words)},
                in_photos=float((found == i).mean()) if len(found) else math.nan,
            )
        )
    pairs = [(i, j) for i in range(len(words)) for j in range(i + 1, len(words))]
    separation = {(words[i], words[j]): _separation(i, j, of_images, of_photos) for i, j in pairs}
    return TriggerScores(tuple(asked), separation)


def _nearest(rows: Floats, photos: Sequence[Floats]) -> NDArray[np.int64]:
    """Return for each row the group whose `NEAREST` photos are most similar, all whitened [N]."""
    cosines = [np.sort(rows @ p.T, axis=1)[:, -NEAREST:].mean(axis=1) for p in photos]
    nearest: NDArray[np.int64] = np.stack(cosines, axis=1).argmax(axis=1)
    return nearest


def _photos_shown(own: int, photos: Sequence[Floats], between: Floats) -> NDArray[np.int64]:
    """Return which group each photo of a group shows, by the others and a whitening that saw none of its part."""
    mine = photos[own]
    part = np.arange(len(mine)) % min(FOLDS, max(1, len(mine)))
    shown = []
    for k in range(int(part.max(initial=-1)) + 1):
        rest = [mine[part != k] if j == own else p for j, p in enumerate(photos)]
        if len(rest[own]):
            whitening = fit_whitening(rest, between)
            shown.append(_nearest(whitening(mine[part == k]), [whitening(p) for p in rest]))
    return np.concatenate(shown) if shown else np.zeros(0, dtype=np.int64)


def _cosines(rows: Floats, photos: Sequence[Floats], whitening: Whitening) -> Floats:
    """Return each image's mean whitened cosine to every group's photos [N, G]."""
    z = whitening(rows)
    return np.stack([similarity(z, whitening(p)) for p in photos], axis=1)


def _cosines_among(own: int, photos: Sequence[Floats], of_class: Floats) -> Floats:
    """Return the same of a group's own photos, each compared with the others of its group [M, G]."""
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
    """Return how far apart two groups' images are, as a share of how far apart their photos are."""
    apart = float(np.nanmean(photos[i][:, i] - photos[i][:, j]) + np.nanmean(photos[j][:, j] - photos[j][:, i]))
    count = min(len(images[i]), len(images[j]))
    # Images of one seed are a pair.
    gaps = images[i][:count, i] - images[i][:count, j] + images[j][:count, j] - images[j][:count, i]
    return mean_interval(gaps).scaled(1 / apart if apart > 0 else math.nan)
