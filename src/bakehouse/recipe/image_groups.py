"""Groups of images in a recipe of `kind = "outfits"` or `"pack"`: who is in them, in which outfit, and their triggers.

Each concept is a group: one character in one outfit, one character in other clothes (the misc group, whose captions
name the clothes), or several characters together. A character's word stands on all of its groups, so that it learns
what they share; an outfit's word on its own group and on those of outfits that build on it, so that each learns what
the simpler one lacks.
"""

from __future__ import annotations

import glob
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.errors import did_you_mean
from bakehouse.core.message_text import counted, listed
from bakehouse.data.compile_captions import raw_captions, tags_of
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.tag_groups import group_of, plain
from bakehouse.data.triggers import Trigger
from bakehouse.recipe.presets import Preset
from bakehouse.recipe.recipe import OF_GROUPS, ConceptSpec, Recipe

COMPLEX_TAGS = 4
"""An outfit of so many tags of clothes is complex: it needs more images."""
CLOTHES = frozenset({"clothes", "trimmings", "legwear", "accessories", "headwear"})
"""Groups of tags that make an outfit."""
OFTEN = 0.5
"""Share of an outfit's images that must have a tag for it to be a part of the outfit."""


@dataclass(frozen=True)
class ImageGroup:
    """The images of one concept."""

    concept: int
    """Its number in the recipe."""
    characters: tuple[str, ...]
    """Triggers of the characters that the images show."""
    outfit: str
    """Word of the outfit; empty: other clothes, or several characters."""
    outfits: tuple[str, ...]
    """Words of the outfit and of the simpler ones that it has too, the simplest first."""

    @property
    def is_together(self) -> bool:
        """Whether it shows several characters."""
        return len(self.characters) > 1


def is_grouped(recipe: Recipe) -> bool:
    """Whether the recipe's concepts are groups of images."""
    return recipe.kind in OF_GROUPS


def image_groups(recipe: Recipe) -> tuple[ImageGroup, ...]:
    """Return the groups of a recipe without `group_errors`, one for each concept."""
    return tuple(
        ImageGroup(i, c.characters or (c.trigger_word,), c.outfit, tuple(_chain(c, recipe.concepts)))
        for i, c in enumerate(recipe.concepts)
    )


def characters_of(recipe: Recipe) -> dict[str, ConceptSpec]:
    """Return the first concept of each character alone, by the character's trigger."""
    found: dict[str, ConceptSpec] = {}
    for concept in recipe.concepts:
        if not concept.characters and concept.trigger_word:
            found.setdefault(concept.trigger_word, concept)
    return found


def _chain(concept: ConceptSpec, concepts: Sequence[ConceptSpec]) -> list[str]:
    """Return the words of a concept's outfit and of all that it builds on, the simplest first."""
    bases = {**{c.outfit: c.over for c in concepts if c.outfit}, concept.outfit: concept.over}
    words: list[str] = []
    word = concept.outfit
    while word and word not in words:
        words.append(word)
        word = bases.get(word, "")
    return words[::-1]


# --- errors and warnings ----------------------------------------------------------------------------------------------


def group_errors(recipe: Recipe) -> list[str]:
    """Return every reason why the concepts of a recipe are no groups of images; none for other kinds."""
    return list(_group_errors(recipe)) if is_grouped(recipe) else []


def _group_errors(recipe: Recipe) -> Iterator[str]:
    for i, concept in enumerate(recipe.concepts):
        yield from (f"concepts.{i}{why}" for why in _concept_errors(concept, recipe))
    people = characters_of(recipe)
    outfits = {c.outfit for c in recipe.concepts if c.outfit}
    words = [*people, *outfits, *{c.trigger_word for c in recipe.concepts if c.characters and c.trigger_word}]
    for word in sorted(w for w, n in Counter(map(plain, words)).items() if n > 1):
        yield f"the word {word!r} stands for two things: give each character and outfit its own"
    declared = {t.word for t in recipe.triggers}
    for word in [w for w in words if w not in declared] if declared else ():
        yield f"the recipe's [[triggers]] lack {word!r}: add it, or leave all out, and the plan declares them"
    if recipe.kind == "outfits" and len(people) > 1:
        yield f"kind = 'outfits' is for one character, and these are {listed(sorted(people))}: set kind = 'pack'"
    if recipe.kind == "pack" and len(people) == 1:
        yield f"kind = 'pack' is for several characters, and there is only {next(iter(people))!r}: set kind = 'outfits'"
    for word in people:
        alone = [c for c in recipe.concepts if c.trigger_word == word and not c.characters]
        if len(classes := sorted({c.class_name for c in alone})) > 1:
            yield f"the character {word!r} has several class words, {listed(classes)}: use one in all its concepts"


def _concept_errors(c: ConceptSpec, recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with one concept, as the rest of a sentence that begins with its key."""
    people = characters_of(recipe)
    bases = {o.outfit: o.over for o in recipe.concepts if o.outfit}
    if not c.characters and not c.trigger_word:
        yield " has no subject: add subject = 'zwx person', the character's trigger and class"
    if c.over and not c.outfit:
        yield f".over = {c.over!r} needs outfit, the word of the outfit that builds on it"
    elif c.over and c.over not in bases:
        known = did_you_mean(c.over, bases) or f"; outfits: {listed(sorted(bases))}"
        yield f".over = {c.over!r} is not an outfit of this recipe{known}"
    elif c.outfit and bases.get(_chain(c, recipe.concepts)[0]):
        yield f".over = {c.over!r}: these outfits build on each other in a circle"
    if c.outfit and c.characters:
        yield f": outfit = {c.outfit!r} is of one character, and characters names several: leave one out"
    if c.characters and len(set(c.characters)) < 2:
        yield f".characters = {list(c.characters)}: name two or more, or leave it out"
    for word in dict.fromkeys(c.characters):
        if word not in people:
            known = did_you_mean(word, people) or f"; characters: {listed(sorted(people))}"
            yield f".characters: {word!r} has no images alone{known}"


def group_warnings(recipe: Recipe, images: ImageSet, preset: Preset) -> Iterator[str]:
    """Yield a warning for each group, outfit or character with too few images, and for what no group teaches.

    Args:
        recipe: with groups.
        images: with raw captions.
        preset: of the recipe's kind.
    """
    groups = image_groups(recipe)
    of = {g.concept: [r for r in images if r.concept == g.concept] for g in groups}
    for g in groups:
        parts = outfit_parts(of[g.concept]) if g.outfit else ()
        is_complex = len(parts) >= COMPLEX_TAGS
        least = preset.complex_images if is_complex else preset.min_images
        what = f"an outfit of {len(parts)} parts ({listed(parts)})" if is_complex else "a group of images"
        if g.is_together and preset.character_images:
            least, what = preset.character_images, f"{' and '.join(g.characters)} together"
        if len(of[g.concept]) < least:
            have = counted(len(of[g.concept]), "image")
            yield f"{recipe.concepts[g.concept].folder}: {have}; {what} needs at least {least}"
        if not g.outfit and not g.is_together:
            yield from _unnamed_clothes(recipe, g, of[g.concept], groups)
    yield from _words_that_are_tags(groups, images)
    for word in characters_of(recipe):
        yield from _of_character(recipe, word, groups, {i: len(found) for i, found in of.items()}, preset)
    yield from _never_together(recipe, groups)


def _words_that_are_tags(groups: Sequence[ImageGroup], images: ImageSet) -> Iterator[str]:
    """Yield a warning for each outfit's word that captions use as a tag: it would be taken out of all of them."""
    for word in dict.fromkeys(g.outfit for g in groups if g.outfit):
        inside = {g.concept for g in groups if word in g.outfits}
        elsewhere = [r for r in images if r.concept not in inside and plain(word) in tags_of(raw_captions(r))]
        if elsewhere:
            yield (
                f"outfit {word!r} is also a tag of {counted(len(elsewhere), 'image')} without this outfit, such as "
                f"{elsewhere[0].path}: give the outfit a word of its own, as the name of its folder or in the recipe"
            )


def _unnamed_clothes(
    recipe: Recipe, group: ImageGroup, records: Sequence[ImageRecord], groups: Sequence[ImageGroup]
) -> Iterator[str]:
    """Yield a warning if a character has outfits, and the captions of its other clothes do not name them."""
    if not any(g.outfit and g.characters == group.characters for g in groups) or not records:
        return
    bare = [r for r in records if not any(group_of(tag) in CLOTHES for tag in tags_of(raw_captions(r)))]
    if 2 * len(bare) > len(records):
        folder = recipe.concepts[group.concept].folder
        yield (
            f"{folder}: {len(bare)} of {counted(len(records), 'caption')} name no clothes, so that "
            f"{group.characters[0]!r} learns them; name them: bakehouse captions tag {shlex.quote(str(folder))} "
            f"--base {shlex.quote(recipe.model.base)}"
        )


def _of_character(
    recipe: Recipe, word: str, groups: Sequence[ImageGroup], counts: dict[int, int], preset: Preset
) -> Iterator[str]:
    alone = [g for g in groups if g.characters == (word,)]
    total = sum(counts[g.concept] for g in alone)
    if preset.character_images and total < preset.character_images:
        have = counted(total, "image")
        yield f"{word}: {have} alone; each character of a pack needs at least {preset.character_images}"
    if any(g.outfit for g in alone) and all(g.outfit for g in alone):
        yield (
            f"{word}: no group shows other clothes, so that what all outfits share becomes the character's own: add a "
            "folder misc, with captions that name its clothes"
        )


def _never_together(recipe: Recipe, groups: Sequence[ImageGroup]) -> Iterator[str]:
    people = list(characters_of(recipe))
    if len(people) > 1 and not any(g.is_together for g in groups):
        yield (
            f"no group shows {' and '.join(people[:2])} together: a prompt for both will mix them. Add a folder "
            f"'{people[0]} + {people[1]}', or draw them with --region"
        )


def outfit_parts(records: Sequence[ImageRecord]) -> tuple[str, ...]:
    """Return the tags of clothes that most raw captions of an outfit have, sorted."""
    counts = Counter(tag for r in records for tag in tags_of(raw_captions(r)) if group_of(tag) in CLOTHES)
    return tuple(sorted(tag for tag, n in counts.items() if n >= OFTEN * max(1, len(records))))


# --- triggers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeclaredTrigger:
    """A trigger that follows from the groups, and why it has its images."""

    trigger: Trigger
    reason: str


def declared_triggers(recipe: Recipe) -> list[DeclaredTrigger]:
    """Return the triggers of a recipe's groups, in the order of captions: characters, outfits, words for several."""
    groups, people = image_groups(recipe), characters_of(recipe)
    names = folder_patterns([c.folder for c in recipe.concepts])

    def folders(chosen: Sequence[ImageGroup]) -> tuple[str, ...]:
        return () if len(chosen) == len(groups) else tuple(names[g.concept] for g in chosen)

    made = []
    for word, concept in people.items():
        chosen = [g for g in groups if word in g.characters]
        values: dict[str, Any] = {"word": word, "class_word": concept.class_name, "kind": "character"}
        reason = f"the character, on {counted(len(chosen), 'group')}: learns what they share and captions leave out"
        if any(g.outfit for g in chosen):
            values["also_bare"] = True
            reason += "; its word alone brings other clothes, from second captions of the misc group"
        made.append(DeclaredTrigger(Trigger.parse({**values, "folders": folders(chosen)}), reason))
    depth = {w: i for g in groups for i, w in enumerate(g.outfits)}
    for word in sorted(depth, key=depth.__getitem__):  # what is worn below stands first in captions
        chosen = [g for g in groups if word in g.outfits]
        outfit = Trigger.parse({"word": word, "kind": "outfit", "folders": folders(chosen)})
        made.append(DeclaredTrigger(outfit, _why_outfit(word, chosen)))
    for concept, group in zip(recipe.concepts, groups, strict=True):
        if group.is_together and concept.trigger_word:
            values = {"word": concept.trigger_word, "class_word": concept.class_name, "kind": "concept"}
            reason = f"{' and '.join(group.characters)} together"
            made.append(DeclaredTrigger(Trigger.parse({**values, "folders": folders([group])}), reason))
    return made


def _why_outfit(word: str, chosen: Sequence[ImageGroup]) -> str:
    """Return what an outfit's word learns, by the outfits of its groups."""
    builds = [g.outfit for g in chosen if g.outfit != word]
    below = next((g.outfits[g.outfits.index(word) - 1] for g in chosen if g.outfits.index(word)), "")
    learns = f"what {below} lacks" if below else "its clothes"
    return f"an outfit: learns {learns}" + (f"; also on {listed(builds)}, which builds on it" if builds else "")


def with_declared_triggers(recipe: Recipe) -> tuple[Recipe, dict[str, tuple[Any, str]]]:
    """Return a recipe with the triggers of its groups, and each with its reason, by dotted key.

    A recipe that declares triggers itself is unchanged, as is one of another kind.
    """
    if not is_grouped(recipe) or recipe.triggers:
        return recipe, {}
    made = declared_triggers(recipe)
    full = recipe.with_values({"triggers": [m.trigger.settings(mode="json") for m in made]})
    return full, {f"triggers.{i}": (m.trigger.word, m.reason) for i, m in enumerate(made)}


def folder_patterns(folders: Sequence[Path]) -> list[str]:
    """Return a pattern of `Trigger.folders` for each folder: its name, with as many parents as tell it apart."""
    parts = [[_bare(name) for name in folder.parts[1:]] for folder in folders]
    patterns = []
    for mine in parts:
        depth = next(
            (n for n in range(1, len(mine)) if sum(other[-n:] == mine[-n:] for other in parts) == 1), max(1, len(mine))
        )
        patterns.append("/".join(glob.escape(name) for name in mine[-depth:]))
    return patterns


def _bare(name: str) -> str:
    """Return a folder's name without kohya's number of repeats."""
    head, _, rest = name.partition("_")
    return rest if head.isdecimal() and rest else name


def prompt_of(recipe: Recipe, group: ImageGroup) -> str:
    """Return the words that ask for a group, as its captions begin: `zwx person, red-dress`."""
    concept = recipe.concepts[group.concept]
    words = {*group.characters, *group.outfits, *([concept.trigger_word] if group.is_together else [])}
    return ", ".join(t.head for t in recipe.triggers if t.word in words)
