"""Triggers declared, captions compiled: what a word takes into itself is left out of the captions of its images.

A tag that a caption says stays free: the prompt decides. A tag that the caption leaves out although the picture shows
it goes to whatever the caption does say, and that is the trigger. So a strategy is a list of tags to leave out, and it
can be changed at any time as long as the raw tags are kept.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from bakehouse.core.errors import Problems, did_you_mean
from bakehouse.core.files import file_exists
from bakehouse.core.settings import Spec
from bakehouse.data.captions import read_caption, split_tags
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.tag_groups import excluded_groups, group_of, groups, matches, plain, tag_group_table

TriggerKind = Literal["character", "outfit", "style", "concept"]
Level = Literal[0, 1, 2, 3, 4]

LEVELS: Mapping[str, int] = {"fluid": 0, "semi-static": 2, "static": 4}
"""The strategies by name."""
TRIGGER_FILE = "triggers.toml"
RAW_SUFFIX = ".tags"
"""Of the file beside an image that keeps its tags as they were before captions were compiled."""
RARE = 0.25
"""A tag of the look in fewer of a trigger's images than this is a variation of it, and stays said."""
SENTENCE_WORDS = 8
"""Between two commas so many words are a sentence: nothing can be left out of it."""


class Trigger(Spec):
    """A word, the images it stands for, and what of them it takes into itself."""

    word: Annotated[str, Field(min_length=1)]
    """What prompts will say. One that the base does not know."""
    kind: TriggerKind = "character"
    """What it stands for; a level takes other tags of a character than of an outfit."""
    class_word: str = ""
    """Written behind the word: `person` makes `zwx person` of `zwx`. Left out: the word alone."""
    folders: tuple[str, ...] = ()
    """Its images: names of folders (`red dress`, `10_red dress`, `sets/*`). Left out: all images."""
    when: tuple[str, ...] = ()
    """Of these, only images whose raw tags hold all of these: `white dress`."""
    strategy: Literal["fluid", "semi-static", "static"] | Level = "semi-static"
    """How much of the look becomes part of the word: `fluid` (0) nothing, `semi-static` (2) what does not change,
    `static` (4) all of it; levels 1 and 3 lie between."""
    absorbs: tuple[str, ...] = ()
    """Tags that it takes beside those of its strategy: `eyepatch`, `* print`, or a group: `@accessories`."""
    keeps: tuple[str, ...] = ()
    """Tags, patterns or groups that stay said whatever the strategy."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of its images, the share that gets it: `0.5` splits a set between two triggers that would else be one."""
    also_without: bool = False
    """Every image gets a second caption without this word, which says what it takes: doubled instead of split."""

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
                raise ValueError(f"there is no group {value!r}{did_you_mean(value[1:], groups())} (known: {known})")
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
        """The tag that stands in front: `zwx person`."""
        return f"{self.word} {self.class_word}".strip()

    @property
    def groups(self) -> frozenset[str]:
        """The groups of tags that its level takes."""
        taken = {g for names in tag_group_table()["levels"][self.kind][: self.level + 1] for g in names}
        return frozenset(taken - set(excluded_groups(self.kind)))

    def takes(self, tag: str) -> bool:
        """Whether the declaration takes a tag of its images; how often the tag occurs is not asked."""
        if any(matches(tag, entry) for entry in self.keeps):
            return False
        return self.names(tag) or group_of(tag) in self.groups

    def names(self, tag: str) -> bool:
        """Whether `absorbs` names the tag, however rare it is."""
        return any(matches(tag, entry) for entry in self.absorbs)


class TriggerFile(Spec):
    """`triggers.toml` beside the images of a folder."""

    triggers: Annotated[tuple[Trigger, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _words_differ(self) -> Self:
        check_unique_words(self.triggers)
        return self


def check_unique_words(triggers: Sequence[Trigger]) -> None:
    """Raises ValueError where two triggers have one word."""
    twice = [w for w, n in Counter(plain(t.word) for t in triggers).items() if n > 1]
    if twice:
        raise ValueError(f"{', '.join(repr(w) for w in twice)}: declared twice; give each trigger its own word")


# --- compiling --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wording:
    """One caption of one image, compiled: what it says, what it leaves out, and for whom."""

    triggers: tuple[str, ...]
    """Words of the triggers that it holds, in the order of their declaration."""
    head: tuple[str, ...]
    """Their tags, which stand in front."""
    said: tuple[str, ...]
    """The raw tags that are left, in their own order."""
    unsaid: Mapping[str, tuple[str, ...]]
    """The raw tags that are left out, each with the words of the triggers that took it."""

    def text(self, mark: str = "") -> str:
        """The caption; `mark`, as `|||`, stands between the triggers and what may be shuffled."""
        if mark and self.head and self.said:
            return f"{', '.join(self.head)} {mark} {', '.join(self.said)}"
        return ", ".join((*self.head, *self.said))


@dataclass(frozen=True)
class CompiledImage:
    """An image with its raw captions and what became of them. `wordings` is empty where there is nothing to say."""

    record: ImageRecord
    raw: tuple[str, ...]
    wordings: tuple[Wording, ...]


def raw_captions(record: ImageRecord) -> tuple[str, ...]:
    """The captions before compiling: of the `.tags` file where there is one, else those of the record."""
    path = raw_path(record)
    return read_caption(path).lines if file_exists(path) else record.captions


def raw_path(record: ImageRecord) -> Path:
    """Where an image's raw tags are kept."""
    return record.path.with_suffix(RAW_SUFFIX)


def compile_captions(
    images: Sequence[ImageRecord], triggers: Sequence[Trigger], roots: Sequence[Path]
) -> tuple[CompiledImage, ...]:
    """The captions of a set, compiled from their raw tags.

    Compiling twice is compiling once, and the captions of one strategy can be compiled into those of another as long as
    the raw tags are there.

    Args:
        images: of the whole set: how common a tag is decides whether it is part of a look or a variation.
        triggers: in the order in which they stand in captions.
        roots: the folders that the images were found in, by the number of the record's concept; names in `folders` are
            looked for in them and below.

    Raises:
        Problems: triggers whose folders or tags match no image, or share a word; all at once.
    """
    raw = [raw_captions(record) for record in images]
    owners = [_owners(record, lines, triggers, roots) for record, lines in zip(images, raw, strict=True)]
    _check(images, owners, triggers, roots)
    owners = _shared_out(owners, triggers)
    taken = {t.word: _taken(t, [lines for lines, own in zip(raw, owners, strict=True) if t in own]) for t in triggers}
    own_words = frozenset(plain(w) for t in triggers for w in (t.word, t.head))
    return tuple(
        CompiledImage(record, lines, tuple(_wordings(lines, own, taken, own_words)))
        for record, lines, own in zip(images, raw, owners, strict=True)
    )


def with_compiled(images: ImageSet, compiled: Sequence[CompiledImage], mark: str = "") -> ImageSet:
    """The set with compiled captions in place of its own."""
    records = tuple(
        dataclasses.replace(c.record, captions=tuple(dict.fromkeys(w.text(mark) for w in c.wordings))) for c in compiled
    )
    return dataclasses.replace(images, records=records)


def inseparable_pairs(compiled: Sequence[CompiledImage]) -> list[tuple[str, str]]:
    """Pairs of triggers that stand in the very same captions: nothing could teach which of them means what."""
    where: dict[str, set[tuple[int, int]]] = {}
    for i, image in enumerate(compiled):
        for j, wording in enumerate(image.wordings):
            for word in wording.triggers:
                where.setdefault(word, set()).add((i, j))
    return [(a, b) for a, b in itertools.combinations(where, 2) if where[a] == where[b]]


def tags_of(lines: Iterable[str]) -> set[str]:
    """All tags of some captions, as they are compared."""
    return {plain(tag) for line in lines for tag in split_tags(line)}


def is_sentence(tag: str) -> bool:
    """Whether what stands between two commas is prose: it is always said."""
    return len(tag.split()) >= SENTENCE_WORDS


def _owners(
    record: ImageRecord, lines: Sequence[str], triggers: Sequence[Trigger], roots: Sequence[Path]
) -> list[Trigger]:
    """The triggers that an image belongs to, by folder and tags."""
    tags = tags_of(lines)
    return [
        t
        for t in triggers
        if (not t.folders or any(_in_folder(record.path, f, roots[record.concept]) for f in t.folders))
        and all(any(matches(tag, w) for tag in tags) for w in t.when)
    ]


def _in_folder(path: Path, pattern: str, root: Path) -> bool:
    """Whether a stretch of the image's folders fits that ends with the root's own name or below it."""
    parts, wanted = path.parent.parts, PurePath(pattern).parts
    first = len(root.parts) if path.is_relative_to(root) else 1
    return any(
        all(_fits(part, want) for part, want in zip(parts[end - len(wanted) : end], wanted, strict=True))
        for end in range(max(first, len(wanted)), len(parts) + 1)
    )


def _fits(name: str, pattern: str) -> bool:
    """Kohya's `10_` before a name may be left out."""
    bare = name.split("_", 1)[1] if "_" in name and name.split("_", 1)[0].isdecimal() else name
    return fnmatchcase(name, pattern) or fnmatchcase(bare, pattern)


def _check(
    images: Sequence[ImageRecord],
    owners: Sequence[Sequence[Trigger]],
    triggers: Sequence[Trigger],
    roots: Sequence[Path],
) -> None:
    problems = []
    for trigger in triggers:
        for pattern in trigger.folders:
            if not any(_in_folder(r.path, pattern, roots[r.concept]) for r in images):
                there = sorted({r.path.parent.name for r in images})
                names = f" (folders with images: {', '.join(there[:8])})"
                problems.append(
                    f"trigger {trigger.word!r}: no image in {pattern!r}{did_you_mean(pattern, there)}{names}"
                )
        if trigger.when and not any(trigger in own for own in owners):
            wanted = ", ".join(trigger.when)
            problems.append(f"trigger {trigger.word!r}: no image of its folders has the tags {wanted}")
    try:
        check_unique_words(triggers)
    except ValueError as e:
        problems.append(str(e))
    if problems:
        raise Problems("these triggers do not fit the images:", problems)


def _shared_out(owners: Sequence[Sequence[Trigger]], triggers: Sequence[Trigger]) -> list[list[Trigger]]:
    """The owners with each `share` applied: evenly through the images, so that every kind of them is in both parts."""
    seen: Counter[str] = Counter()
    kept: list[list[Trigger]] = []
    for own in owners:
        mine = []
        for trigger in own:
            n = seen[trigger.word]
            seen[trigger.word] += 1
            # The epsilon lets 0.1 x 10 be 1.
            if int((n + 1) * trigger.share + 1e-9) > int(n * trigger.share + 1e-9):
                mine.append(trigger)
        kept.append(mine)
    return kept


def _taken(trigger: Trigger, captions: Sequence[Sequence[str]]) -> frozenset[str]:
    """The tags that a trigger takes from its own images: of its look, and not too rare to be part of it."""
    counts = Counter(tag for lines in captions for tag in tags_of(lines))
    enough = RARE * len(captions)
    return frozenset(
        tag
        for tag, n in counts.items()
        if not is_sentence(tag) and trigger.takes(tag) and (n >= enough or trigger.names(tag))
    )


def _wordings(
    lines: Sequence[str], own: Sequence[Trigger], taken: Mapping[str, frozenset[str]], own_words: frozenset[str]
) -> Iterable[Wording]:
    """An image's captions: with all its triggers, then without each that is declared `also_without`."""
    for chosen in [own, *([t for t in own if t is not left] for left in own if left.also_without)]:
        for line in lines or ("",):
            wording = _wording(line, chosen, taken, own_words)
            if wording.head or wording.said:
                yield wording


def _wording(
    line: str, chosen: Sequence[Trigger], taken: Mapping[str, frozenset[str]], own_words: frozenset[str]
) -> Wording:
    classes = {plain(t.class_word) for t in chosen if t.class_word}
    said: list[str] = []
    unsaid: dict[str, tuple[str, ...]] = {}
    for tag in split_tags(line):
        key = plain(tag)
        if key in own_words or key in classes:
            continue
        if takers := tuple(t.word for t in chosen if key in taken[t.word]):
            unsaid[key] = takers
        else:
            said.append(tag)
    return Wording(tuple(t.word for t in chosen), tuple(t.head for t in chosen), tuple(said), unsaid)
