"""Triggers as declared in `triggers.toml` or a recipe: words, their images, and which tags they absorb."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from bakehouse.core.errors import did_you_mean
from bakehouse.core.settings import Spec
from bakehouse.data.tag_groups import excluded_groups, group_of, groups, matches, plain, tag_group_table

TriggerKind = Literal["character", "outfit", "style", "concept"]
Level = Literal[0, 1, 2, 3, 4]

LEVELS: Mapping[str, int] = {"fluid": 0, "semi-static": 2, "static": 4}
"""The strategies by name."""
TRIGGER_FILE = "triggers.toml"


class Trigger(Spec):
    """A trigger word, its images, and which of their tags it absorbs."""

    word: Annotated[str, Field(min_length=1)]
    """The word to use in prompts; one that the base model does not know."""
    kind: TriggerKind = "character"
    """What the word stands for; the tags that a strategy absorbs depend on it."""
    class_word: str = ""
    """Written after the word: with `person`, captions have `zwx person`. Default: the word alone."""
    folders: tuple[str, ...] = ()
    """Its images: names of folders (`red dress`, `10_red dress`, `sets/*`). Default: all images."""
    when: tuple[str, ...] = ()
    """Only images whose raw tags include all of these: `white dress`."""
    strategy: Literal["fluid", "semi-static", "static"] | Level = "semi-static"
    """How much of the look the word absorbs: `fluid` (0) nothing, `semi-static` (2) what does not change, `static` (4)
    all of it; 1 and 3 are in between."""
    absorbs: tuple[str, ...] = ()
    """Tags that it absorbs in addition to those of its strategy: `eyepatch`, `* print`, or a group: `@accessories`."""
    keeps: tuple[str, ...] = ()
    """Tags, patterns or groups that stay in captions whatever the strategy."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of its images that get the word: `0.5` splits the images between two triggers."""
    also_without: bool = False
    """Give every image a second caption, without this word and with the tags that it absorbs."""
    also_bare: bool = False
    """Give each image without another trigger a second caption without its tags of clothes: the word alone then brings
    the clothes of these images, and not those of outfits that have words of their own."""

    @field_validator("word", "class_word")
    @classmethod
    def _one_tag(cls, value: str) -> str:
        value = " ".join(value.split())
        if "," in value:
            raise ValueError(f"{value!r} has a comma: a trigger is one tag")
        return value

    @field_validator("absorbs", "keeps")
    @classmethod
    def _groups_exist(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if value.startswith("@") and value[1:] not in groups():
                known = ", ".join(f"@{g}" for g in groups())
                raise ValueError(f"unknown group {value!r}{did_you_mean(value[1:], groups())} (groups: {known})")
        return values

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if both := {plain(t) for t in self.absorbs} & {plain(t) for t in self.keeps}:
            raise ValueError(f"trigger {self.word!r} both absorbs and keeps {', '.join(sorted(both))}: choose one")
        return self

    @property
    def level(self) -> int:
        """The strategy as a number, 0 to 4."""
        return self.strategy if isinstance(self.strategy, int) else LEVELS[self.strategy]

    @property
    def head(self) -> str:
        """The tag at the beginning of captions: `zwx person`."""
        return f"{self.word} {self.class_word}".strip()

    @property
    def groups(self) -> frozenset[str]:
        """The groups of tags that its level absorbs."""
        taken = {g for names in tag_group_table()["levels"][self.kind][: self.level + 1] for g in names}
        return frozenset(taken - set(excluded_groups(self.kind)))

    def takes_bare(self, tag: str) -> bool:
        """Whether `also_bare` leaves a tag out: what an outfit of the usual strategy would absorb."""
        return group_of(tag) in _OUTFIT_GROUPS

    def takes(self, tag: str) -> bool:
        """Whether strategy, `absorbs` and `keeps` say that it absorbs a tag; how common the tag is does not count."""
        if any(matches(tag, entry) for entry in self.keeps):
            return False
        return self.names(tag) or group_of(tag) in self.groups

    def names(self, tag: str) -> bool:
        """Whether `absorbs` names the tag, however rare it is."""
        return any(matches(tag, entry) for entry in self.absorbs)


_OUTFIT_GROUPS = Trigger(word="outfit", kind="outfit").groups


class TriggerFile(Spec):
    """`triggers.toml` beside the images of a folder."""

    triggers: Annotated[tuple[Trigger, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _words_differ(self) -> Self:
        check_unique_words(self.triggers)
        return self


def check_unique_words(triggers: Sequence[Trigger]) -> None:
    """Raise ValueError if two triggers have the same word."""
    twice = [w for w, n in Counter(plain(t.word) for t in triggers).items() if n > 1]
    if twice:
        raise ValueError(f"{', '.join(repr(w) for w in twice)}: declared twice; each trigger needs its own word")
