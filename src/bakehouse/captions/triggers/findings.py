"""What is wrong with a set of triggers, and what each way out of it costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bakehouse.captions.triggers.exposure import (
    Absorption,
    Show,
    Shown,
    absorptions,
    said_with,
    standing_of,
    total,
    unsaid_in,
)
from bakehouse.core.pluralize import counted, listed
from bakehouse.data.tag_groups import excluded_groups, group_of, groups, plain
from bakehouse.data.triggers import CompiledImage, Trigger, inseparable_pairs, is_sentence

FEW = 8
"""Images below which a word is guessed at rather than learned."""
SPLIT = 80
"""Images from which one half can do without a trigger and both halves still teach."""
EVERYWHERE = 0.85
"""Of all shows: so often unsaid, a thing is what every picture has."""
ALWAYS = 0.85
"""Of a trigger's shows: a tag said so often shares the trigger's meaning."""

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Remedy:
    """One way out, and its price."""

    what: str
    setting: str
    """What to write, where a setting does it: `share = 0.5`."""
    images: int = 0
    """To be found beside those that are there."""
    shows: float = 0.0
    """That an epoch grows by, for each word to be seen as often as now."""


@dataclass(frozen=True)
class Finding:
    """One thing to know; ids are stable."""

    id: str
    level: Level
    message: str
    triggers: tuple[str, ...] = ()
    remedies: tuple[Remedy, ...] = field(default=())


def findings(compiled: Sequence[CompiledImage], shows: Sequence[Show], triggers: Sequence[Trigger]) -> list[Finding]:
    """Everything there is to say, errors first."""
    absorbed = absorptions(shows, triggers)
    standing = standing_of(shows, triggers)
    found = [
        *_inseparable(compiled, shows, standing),
        *_small(shows, standing),
        *_never_alone(shows, standing),
        *_everywhere(shows, triggers, standing, absorbed),
        *_never(triggers),
        *_always_said(shows, triggers),
        *_known_words(compiled, triggers),
        *_sentences(compiled),
    ]
    order: list[Level] = ["error", "warning", "note"]
    return sorted(found, key=lambda f: order.index(f.level))


def _inseparable(
    compiled: Sequence[CompiledImage], shows: Sequence[Show], standing: Mapping[str, Shown]
) -> Iterator[Finding]:
    for first, second in inseparable_pairs(compiled):
        images = _images(shows, standing[second])
        message = (
            f"{first!r} and {second!r} cannot be told apart: each of the {images} images of one has the other too, so "
            "both words come to mean both things"
        )
        yield Finding("D02", "error", message, (first, second), _ways_apart(first, second, shows, standing))


def _ways_apart(first: str, second: str, shows: Sequence[Show], standing: Mapping[str, Shown]) -> tuple[Remedy, ...]:
    images, weight = _images(shows, standing[second]), total(shows, standing[second])
    missing = max(0, SPLIT - images)
    there = f"{images} are there" + (f", {missing} are missing" if missing else ", enough")
    return (
        Remedy(
            f"split the images: half keep {first!r} alone, with what {second!r} takes said; {SPLIT} or more make two "
            f"halves that teach, {there}; training takes no longer",
            f"share = 0.5 at {second!r}",
            images=missing,
        ),
        Remedy(
            f"show every image in two wordings, with {second!r} and without it: no image more, "
            f"{weight:g} shows an epoch more",
            f"also_without = true at {second!r}",
            shows=weight,
        ),
    )


def _small(shows: Sequence[Show], standing: Mapping[str, Shown]) -> Iterator[Finding]:
    for word, mine in standing.items():
        if (images := _images(shows, mine)) < FEW:
            yield Finding(
                "E01", "warning", f"{word!r} has {counted(images, 'image')}; {FEW} are the least that teach", (word,)
            )
    for general, wide in standing.items():
        for special, narrow in standing.items():
            alone = _images(shows, wide) - _images(shows, narrow) if _twice(shows, narrow) == 0 else FEW
            if narrow < wide and alone < FEW:
                yield Finding(
                    "D03",
                    "warning",
                    f"{general!r} is seen without {special!r} in {alone} images; below {FEW} the two words blur",
                    (general, special),
                    _ways_apart(general, special, shows, standing),
                )


def _never_alone(shows: Sequence[Show], standing: Mapping[str, Shown]) -> Iterator[Finding]:
    """A word that always stands beside one of several others: together they explain all that it does."""
    for general, wide in standing.items():
        narrow = [t for t, mine in standing.items() if mine < wide]
        alone = _images(shows, wide.difference(*(standing[t] for t in narrow)))
        if len(narrow) > 1 and alone < FEW:
            message = (
                f"{general!r} is seen alone in {alone} images: the others have {_quoted(narrow)} too, and these words "
                f"together can take all that {general!r} should mean, so that it brings little when asked for alone"
            )
            misc = Remedy(
                f"add a misc group: {max(FEW, _images(shows, wide) // (len(narrow) + 1))} images of {general!r} with "
                "other things than theirs, in a folder that none of them names",
                f"folders = [...] at {_quoted(narrow)}",
                images=max(FEW, _images(shows, wide) // (len(narrow) + 1)) - alone,
            )
            yield Finding("D03", "warning", message, (general, *narrow), (misc,))


def _everywhere(
    shows: Sequence[Show],
    triggers: Sequence[Trigger],
    standing: Mapping[str, Shown],
    absorbed: Mapping[str, Sequence[Absorption]],
) -> Iterator[Finding]:
    """Things that no caption says and all pictures have: they go to the most general word, or to none."""
    whole = sum(s.weight for s in shows)
    things: dict[tuple[str | None, tuple[str, ...]], list[str]] = defaultdict(list)
    for what, where in sorted(unsaid_in(shows).items()):
        if total(shows, where) < EVERYWHERE * whole or any(what in s.said for s in shows):
            continue
        owners = [t for t, found in absorbed.items() if any(a.what == what for a in found)]
        widest = next((t for t in owners if len(standing[t]) == len(shows)), None)
        narrow = [t.word for t in triggers if t.takes(what) and 0 < len(standing.get(t.word, ())) < len(shows)]
        if narrow if widest else len(narrow) > 1:
            things[widest, tuple(narrow)].append(what)
    for (widest, narrow_), whats in things.items():
        left_out = f"{_quoted(whats)} is left out in all groups ({_quoted(narrow_)})"
        if widest:
            message = f"{left_out}, so it goes to {widest!r}: that word alone will bring it, the groups only the rest"
        else:
            message = f"{left_out} and belongs to nobody: every picture has it, so it will show without any trigger"
        sizes = [_images(shows, standing[t]) for t in narrow_]
        words = (widest, *narrow_) if widest else narrow_
        yield Finding("D05", "warning", message, words, (_misc(whats, widest, sizes),))


def _misc(whats: Sequence[str], widest: str | None, sizes: Sequence[int]) -> Remedy:
    images = max(FEW, min(sizes, default=FEW))
    of = f" of {widest!r}" if widest else ""
    return Remedy(
        f"add a misc group: {images} images{of} with other things than {_quoted(whats)}, in a folder that none of the "
        "groups names, so that what they wear is said",
        "folders = [...] at the groups",
        images=images,
    )


def _never(triggers: Sequence[Trigger]) -> Iterator[Finding]:
    for trigger in triggers:
        reasons = excluded_groups(trigger.kind)
        for entry in trigger.absorbs:
            group = entry[1:] if entry.startswith("@") else group_of(entry)
            if group is not None and group in reasons:
                message = f"{trigger.word!r} absorbs {entry!r}, which a {trigger.kind} should not: {reasons[group]}"
                yield Finding("D06", "warning", message, (trigger.word,))


def _always_said(shows: Sequence[Show], triggers: Sequence[Trigger]) -> Iterator[Finding]:
    for trigger in triggers:
        often = [t for t, share in said_with(shows, trigger.word).items() if share >= ALWAYS]
        look = sorted(t for t in often if group_of(t) is not None and group_of(t) != "background")
        rest = sorted(set(often) - set(look))
        if look:
            message = (
                f"{_quoted(look)} is said in nearly every caption of {trigger.word!r}: prompts have to say it too, and "
                f"{trigger.word!r} alone brings a part of it"
            )
            yield Finding("D04", "note", message, (trigger.word,))
        if rest:
            message = (
                f"{_quoted(rest)} comes with nearly every image of {trigger.word!r} and will stick to it: vary it, or "
                "find images without it"
            )
            yield Finding("D04", "warning", message, (trigger.word,))


def _known_words(compiled: Sequence[CompiledImage], triggers: Sequence[Trigger]) -> Iterator[Finding]:
    """Words that mean something already: tags of these images, or of everybody's."""
    tags = {plain(t) for c in compiled for w in c.wordings for t in w.said}
    tags |= {word for words in groups().values() for word in words}
    for trigger in triggers:
        if plain(trigger.word) in tags:
            message = f"{trigger.word!r} is a word that captions use for something else; choose one that means nothing"
            yield Finding("D08", "warning", message, (trigger.word,))


def _sentences(compiled: Sequence[CompiledImage]) -> Iterator[Finding]:
    prose = [c for c in compiled if any(is_sentence(t) for w in c.wordings for t in w.said)]
    if prose:
        first = prose[0].record.path.name
        message = f"{counted(len(prose), 'caption')} with sentences, the first of {first}: nothing is left out of them"
        yield Finding("C14", "warning", message)


def _images(shows: Sequence[Show], where: Shown) -> int:
    return len({shows[i].image for i in where})


def _twice(shows: Sequence[Show], where: Shown) -> int:
    """Images that are shown both with and without: they tell two words apart as well as other images do."""
    mine = {shows[i].image for i in where}
    return len({s.image for i, s in enumerate(shows) if s.image in mine and i not in where})


def _quoted(words: Sequence[str]) -> str:
    return listed([repr(w) for w in words])
