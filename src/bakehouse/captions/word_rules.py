"""Rules that know what words mean: what is said twice, what is one thing, what the base model was taught."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from bakehouse.captions.rule import Change, Context, Listed, Rule, Tags, matcher
from bakehouse.data.shipped_tag_lists import read_data, read_list
from bakehouse.data.tags import BARRIER, has_several_people, key

_MOST_JOINED = 4
"""Tags with one head that are tried in every order."""


class Synonyms(Rule):
    """One word for one thing: spellings become the usual one; what taggers take for each other, the folder's usual one.

    Where a vocabulary is given, a word that it has goes before one that it has not.
    """

    counts: ClassVar[bool] = True
    kind: Literal["synonyms"] = "synonyms"
    sets: tuple[Tags, ...] = ()
    """Your own, for example `[["sword", "blade"]]`: the first is used."""
    shipped: bool = True
    """Also the shipped ones."""

    def bind(self, context: Context) -> Change:
        data = read_data("synonyms") if self.shipped else {"spellings": [], "confusions": []}
        table: dict[str, str] = {}
        for words in (*self.sets, *data["spellings"]):
            _enter(table, words, max(words, key=context.knows) if context.vocabulary else words[0])
        for words in data["confusions"]:
            best = max(words, key=lambda w: (context.knows(w), context.counts.get(key(w), 0)))
            _enter(table, words, best)
        return Change(lambda tags: _renamed(tags, table), on=lambda tag: key(tag) in table)


def _enter(table: dict[str, str], words: Sequence[str], chosen: str) -> None:
    for word in words:
        if key(word) != key(chosen):
            table.setdefault(key(word), chosen)


def _renamed(tags: Tags, table: Mapping[str, str]) -> Tags:
    there = {key(tag) for tag in tags if key(tag) not in table}
    out = []
    for tag in tags:
        new = table.get(key(tag))
        if new is None:
            out.append(tag)
        elif key(new) not in there:
            out.append(new)
            there.add(key(new))
    return tuple(out)


class Generics(Rule):
    """A general tag goes where a special one says it: `jewelry` beside `earrings`. With several people both stay."""

    kind: Literal["generics"] = "generics"
    table: dict[str, Tags] = Field(default_factory=dict)
    """Your own: the general tag and the special ones; `*` stands for anything."""
    shipped: bool = True
    """Also the shipped ones."""
    keep: Listed = ()
    """General tags that stay."""

    def bind(self, context: Context) -> Change:
        shipped: dict[str, list[str]] = read_data("generics")["generics"] if self.shipped else {}
        special = {key(g): matcher(s) for g, s in (*shipped.items(), *self.table.items())}
        kept = matcher(self.keep)

        def drop(tags: Tags) -> Tags:
            general = [tag for tag in tags if key(tag) in special and not kept(tag)]
            gone = {g for g in general if any(key(t) != key(g) for t in filter(special[key(g)], tags))}
            if not gone or has_several_people(tags):
                return tags
            return tuple(tag for tag in tags if tag not in gone)

        return Change(drop, on=lambda tag: key(tag) in special)


class Redundant(Rule):
    """A tag goes where another one ends in it: `shirt` under `white shirt`, while `dress` stays beside `dress shirt`.

    The last words are what the thing is. Compounds that are something else (`hot dog`) and denials (`no shoes`) do not
    count, and with several people nothing goes: it may be another one's shirt.
    """

    kind: Literal["redundant"] = "redundant"
    keep: Listed = ()
    """Tags that stay."""

    def bind(self, context: Context) -> Change:
        kept = matcher(self.keep)
        heads = read_data("heads")
        no_kind = frozenset(heads["compounds"])
        denying = tuple(f"{word} " for word in heads["denying"])

        @functools.cache
        def ends(tag: str) -> frozenset[str]:
            """What is said by saying this tag."""
            k = key(tag)
            if k in no_kind or k.startswith(denying):
                return frozenset()
            words = k.split(" ")
            return frozenset(" ".join(words[i:]) for i in range(1, len(words)))

        def drop(tags: Tags) -> Tags:
            said = frozenset().union(*map(ends, tags))
            if said.isdisjoint(map(key, tags)) or has_several_people(tags):
                return tags
            return tuple(tag for tag in tags if key(tag) not in said or kept(tag) or tag == BARRIER)

        return Change(drop)


class Split(Rule):
    """A tag that the base model does not know, as several that it knows: `long blonde hair`, `blonde twintails`."""

    kind: Literal["split"] = "split"

    def bind(self, context: Context) -> Change:
        @functools.cache
        def parts(tag: str) -> Tags:
            if tag == BARRIER or context.knows(tag):
                return (tag,)
            return next((p for p in _partings(key(tag)) if all(map(context.knows, p))), _always(tag))

        def taken_apart(tags: Tags) -> Tags:
            new = [part for tag in tags for part in parts(tag)]
            return tuple(t for i, t in enumerate(new) if t in tags or key(t) not in map(key, new[:i]))

        return Change(taken_apart, on=lambda tag: parts(tag) != (tag,))


def _always(tag: str) -> Tags:
    table: dict[str, list[str]] = read_data("splits")["always"]
    return tuple(table.get(key(tag), (tag,)))


def _partings(tag: str) -> Iterator[Tags]:
    """Ways to say a tag in several, the likeliest first."""
    words = tag.split(" ")
    styles = read_data("splits")["hair"]["styles"]
    for i in range(1, len(words)):
        left, right = " ".join(words[:i]), " ".join(words[i:])
        if left in read_list("colors") and right in styles:
            yield f"{left} hair", right
    for i in range(1, len(words) - 1):
        if words[i] == "and":
            left, right = " ".join(words[:i]), " ".join(words[i + 1 :])
            yield left, right
    if len(words) > 2:
        yield tuple(f"{word} {words[-1]}" for word in words[:-1])
    for i in range(2, len(words) - 1):
        yield " ".join(words[:i]), " ".join(words[i:])


class Consolidate(Rule):
    """Tags of one thing become one tag, where the vocabulary has it: `long hair, pink hair` -> `pink long hair`.

    Nothing is made up: without a vocabulary nothing is joined. Two colours are never joined, and nothing where there
    are several people or eyes of two colours.
    """

    kind: Literal["consolidate"] = "consolidate"

    def bind(self, context: Context) -> Change:
        join_words = functools.lru_cache(maxsize=1 << 14)(functools.partial(_joined, knows=context.knows))

        def consolidated(tags: Tags) -> Tags:
            groups = _by_head(tags)
            if not groups or any(key(t) == "heterochromia" for t in tags) or has_several_people(tags):
                return tags
            for head, members in groups.items():
                for chosen in _subsets(members):
                    if whole := join_words(tuple(map(key, chosen)), head):
                        at = tags.index(chosen[0])
                        rest = [t for t in tags[at + 1 :] if t not in chosen]
                        return consolidated((*tags[:at], whole, *rest))
            return tags

        return Change(consolidated if context.vocabulary is not None else lambda tags: tags)


def _by_head(tags: Tags) -> dict[str, list[str]]:
    """Tags of several words by their last word, where more than one has it."""
    groups: dict[str, list[str]] = {}
    for tag in dict.fromkeys(tags):
        words = key(tag).split(" ")
        if len(words) > 1:
            groups.setdefault(words[-1], []).append(tag)
    return {head: members for head, members in groups.items() if 1 < len(members) <= _MOST_JOINED}


def _subsets(members: Sequence[str]) -> Iterator[Tags]:
    for n in range(len(members), 1, -1):
        yield from itertools.combinations(members, n)


def _joined(tags: Tags, head: str, *, knows: Callable[[str], bool]) -> str | None:
    """The tag that says what all of `tags` say, if there is one; None if not, or if two of them say a colour."""
    modifiers = [tag.removesuffix(f" {head}") for tag in tags]
    colors = frozenset(read_list("colors"))
    if sum(1 for m in modifiers if not colors.isdisjoint({m, *m.split(" ")})) > 1:
        return None
    for order in itertools.permutations(modifiers):
        whole = f"{' '.join(order)} {head}"
        if knows(whole):
            return whole
    return None


def vague_tags() -> frozenset[str]:
    """Tags under which a model can imagine too many things, by their keys."""
    data: dict[str, Any] = read_data("generics")["vague"]
    return frozenset(map(key, data["tags"]))
