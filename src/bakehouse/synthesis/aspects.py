"""Aspects in which images of a subject should differ (framing, view, place, outfit), and what a dataset has of each."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.data.captions import split_tags
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.tag_groups import group_of, plain
from bakehouse.evaluation.prompt_set import CLOTHES, FRAMINGS, FRAMINGS_OF_THINGS, PLACES
from bakehouse.recipe.recipe import ConceptSpec, Kind

AspectName = Literal["framing", "view", "place", "outfit"]

MAX_ALWAYS = 0.8
"""An outfit that more than this share of the captions name is the subject's own, and is not varied."""
PEOPLE = frozenset({
    "person", "robot", "man", "woman", "girl", "boy", "1girl", "1boy", "child", "kid", "baby", "lady", "guy", "human",
    "character", "actor", "singer",
})  # fmt: skip
"""Class words of subjects that are framed as people are."""


@dataclass(frozen=True)
class Value:
    """One value of an aspect."""

    tag: str
    """What prompts and captions say; empty: nothing."""
    also: tuple[str, ...] = ()
    """Tags of other captions that show the same."""

    @property
    def label(self) -> str:
        return self.tag or next(iter(self.also), "unsaid")


@dataclass(frozen=True)
class Aspect:
    """An aspect, its values, and how many images of the dataset show each."""

    name: AspectName
    values: tuple[Value, ...]
    shown: Mapping[str, int] = field(default_factory=dict)
    """By the values' labels."""

    def counted(self, captions: Sequence[str]) -> Aspect:
        """Return the aspect with what captions show of it."""
        found: Counter[str] = Counter({value.label: 0 for value in self.values})
        for caption in captions:
            tags = {plain(tag) for tag in split_tags(caption)}
            shown = [v for v in self.values if tags & {plain(t) for t in (v.tag, *v.also) if t}]
            silent = [v for v in self.values if not v.tag]
            found.update(value.label for value in (shown or silent)[:1])
        return Aspect(self.name, self.values, dict(found))

    @property
    def missing(self) -> tuple[str, ...]:
        """The labels of values that no image shows."""
        return tuple(label for label, count in self.shown.items() if not count)


def aspects_of(
    concept: ConceptSpec,
    kind: Kind,
    images: Sequence[ImageRecord],
    wanted: Sequence[AspectName] = (),
    *,
    bundled: bool = False,
) -> tuple[Aspect, ...]:
    """Return the aspects in which images of a subject should differ, with what the images show of each.

    An outfit is varied if the captions name several, or if it is wanted: else it is part of the subject.

    Args:
        concept: the subject.
        kind: its kind.
        images: with their captions.
        wanted: only these; empty: all that apply.
        bundled: whether the base is crumb, which knows fewer words.
    """
    captions = [line for record in images for line in record.captions[:1]]
    words = concept.class_name.lower().split()
    is_person = words[-1] in PEOPLE if words else kind == "character"
    found = [a.counted(captions) for a in (_of_crumb(is_person) if bundled else _of_any(is_person))]
    return tuple(a for a in found if (a.name in wanted if wanted else a.name != "outfit" or _outfits_vary(captions)))


def plan_values(aspects: Sequence[Aspect], count: int, seed: int) -> list[tuple[tuple[AspectName, str], ...]]:
    """Return for each of `count` images one tag of each aspect: always the value that the dataset shows least by then.

    Equals are taken in an order that the seed decides.
    """
    rng = random.Random(f"extend {seed}")
    orders = [rng.sample(aspect.values, len(aspect.values)) for aspect in aspects]
    shown = [Counter(aspect.shown) for aspect in aspects]
    planned = []
    for _ in range(count):
        chosen: list[tuple[AspectName, str]] = []
        for aspect, order, counts in zip(aspects, orders, shown, strict=True):
            value = min(order, key=lambda v: counts[v.label])
            counts[value.label] += 1
            chosen.append((aspect.name, value.tag))
        planned.append(tuple(chosen))
    return planned


def _outfits_vary(captions: Sequence[str]) -> bool:
    named = Counter(
        plain(tag) for caption in captions for tag in set(split_tags(caption)) if group_of(tag) == "clothes"
    )
    return len([tag for tag, count in named.items() if count <= MAX_ALWAYS * len(captions)]) >= 2


def _of_crumb(is_person: bool) -> list[Aspect]:
    framings = FRAMINGS if is_person else FRAMINGS_OF_THINGS
    listed: list[tuple[AspectName, Sequence[str]]] = [("framing", framings), ("place", PLACES)]
    listed += [("outfit", CLOTHES)] if is_person else []
    return [Aspect(name, tuple(Value(tag) for tag in tags)) for name, tags in listed]


def _of_any(is_person: bool) -> list[Aspect]:
    whom = ("both", "person" if is_person else "thing")
    return [
        Aspect(row["name"], tuple(Value(v["tag"], tuple(v.get("also", ()))) for v in row["values"]))
        for row in _table()["aspect"]
        if row["of"] in whom
    ]


@cache
def _table() -> Mapping[str, Any]:
    return parse_toml((resources.files("bakehouse.synthesis") / "aspects.toml").read_text("utf-8"))
