"""Caption rules that know the meaning of tags: synonyms, general and specific tags, the base model's vocabulary."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from bakehouse.captions.rule import BoundRule, Context, Rule, TagList, Tags, matcher
from bakehouse.data.shipped_tag_lists import read_data, read_list
from bakehouse.data.tags import BARRIER, has_several_people, key

_MAX_JOINED = 4
"""Most tags with one head noun that are joined: they are tried in every order."""


class Synonyms(Rule):
    """Merge synonyms: spellings become the usual one, tags that taggers confuse the folder's most frequent one.

    With a vocabulary, a word that it has is preferred.
    """

    needs_counts: ClassVar[bool] = True
    kind: Literal["synonyms"] = "synonyms"
    sets: tuple[Tags, ...] = ()
    """Sets of synonyms, for example `[["sword", "blade"]]`: the first is used."""
    shipped: bool = True
    """Also the shipped ones."""

    def bind(self, context: Context) -> BoundRule:
        data = read_data("synonyms") if self.shipped else {"spellings": [], "confusions": []}
        table: dict[str, str] = {}
        for words in (*self.sets, *data["spellings"]):
            _add_synonyms(table, words, max(words, key=context.knows) if context.vocabulary else words[0])
        for words in data["confusions"]:
            best = max(words, key=lambda w: (context.knows(w), context.counts.get(key(w), 0)))
            _add_synonyms(table, words, best)
        return BoundRule(lambda tags: _renamed(tags, table), affects=lambda tag: key(tag) in table)


def _add_synonyms(table: dict[str, str], words: Sequence[str], chosen: str) -> None:
    for word in words:
        if key(word) != key(chosen):
            table.setdefault(key(word), chosen)


def _renamed(tags: Tags, table: Mapping[str, str]) -> Tags:
    existing = {key(tag) for tag in tags if key(tag) not in table}
    out = []
    for tag in tags:
        new = table.get(key(tag))
        if new is None:
            out.append(tag)
        elif key(new) not in existing:
            out.append(new)
            existing.add(key(new))
    return tuple(out)


class Generics(Rule):
    """Remove a general tag beside a specific one: `jewelry` beside `earrings`; not in images of several people."""

    kind: Literal["generics"] = "generics"
    table: dict[str, Tags] = Field(default_factory=dict)
    """General tags with their specific ones; `*` matches anything."""
    shipped: bool = True
    """Also the shipped ones."""
    keep: TagList = ()
    """General tags that are not removed."""

    def bind(self, context: Context) -> BoundRule:
        shipped: dict[str, list[str]] = read_data("generics")["generics"] if self.shipped else {}
        specific = {key(g): matcher(s) for g, s in (*shipped.items(), *self.table.items())}
        kept = matcher(self.keep)

        def drop(tags: Tags) -> Tags:
            general = [tag for tag in tags if key(tag) in specific and not kept(tag)]
            dropped = {g for g in general if any(key(t) != key(g) for t in filter(specific[key(g)], tags))}
            if not dropped or has_several_people(tags):
                return tags
            return tuple(tag for tag in tags if tag not in dropped)

        return BoundRule(drop, affects=lambda tag: key(tag) in specific)


class Redundant(Rule):
    """Remove a tag that another one ends in: `shirt` beside `white shirt`, but not `dress` beside `dress shirt`.

    The last words of a tag are its head noun. Compounds with another meaning (`hot dog`) and negations (`no shoes`) are
    excluded, and so are images of several people: the shirt may be another one's.
    """

    kind: Literal["redundant"] = "redundant"
    keep: TagList = ()
    """Tags that are not removed."""

    def bind(self, context: Context) -> BoundRule:
        kept = matcher(self.keep)
        heads = read_data("heads")
        compounds = frozenset(heads["compounds"])
        negations = tuple(f"{word} " for word in heads["denying"])

        @functools.cache
        def implied(tag: str) -> frozenset[str]:
            """Return the tags that this tag implies."""
            k = key(tag)
            if k in compounds or k.startswith(negations):
                return frozenset()
            words = k.split(" ")
            return frozenset(" ".join(words[i:]) for i in range(1, len(words)))

        def drop(tags: Tags) -> Tags:
            redundant = frozenset().union(*map(implied, tags))
            if redundant.isdisjoint(map(key, tags)) or has_several_people(tags):
                return tags
            return tuple(tag for tag in tags if key(tag) not in redundant or kept(tag) or tag == BARRIER)

        return BoundRule(drop)


class Split(Rule):
    """Split a tag that the base model does not know into several that it knows: `long blonde hair`."""

    kind: Literal["split"] = "split"

    def bind(self, context: Context) -> BoundRule:
        @functools.cache
        def parts(tag: str) -> Tags:
            if tag == BARRIER or context.knows(tag):
                return (tag,)
            return next((p for p in _candidate_splits(key(tag)) if all(map(context.knows, p))), _fixed_split(tag))

        def split_tags(tags: Tags) -> Tags:
            new = [part for tag in tags for part in parts(tag)]
            return tuple(t for i, t in enumerate(new) if t in tags or key(t) not in map(key, new[:i]))

        return BoundRule(split_tags, affects=lambda tag: parts(tag) != (tag,))


def _fixed_split(tag: str) -> Tags:
    """Return the parts of a tag that is split without a vocabulary; else the tag."""
    table: dict[str, list[str]] = read_data("splits")["always"]
    return tuple(table.get(key(tag), (tag,)))


def _candidate_splits(tag: str) -> Iterator[Tags]:
    """Yield ways to split a tag, the most likely first."""
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
    """Join tags of one thing to one tag of the vocabulary: `long hair, pink hair` -> `pink long hair`.

    Without a vocabulary nothing is joined. Two colours are never joined, and images of several people or with eyes of
    two colours are not changed.
    """

    kind: Literal["consolidate"] = "consolidate"

    def bind(self, context: Context) -> BoundRule:
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

        return BoundRule(consolidated if context.vocabulary is not None else lambda tags: tags)


def _by_head(tags: Tags) -> dict[str, list[str]]:
    """Group tags of several words by their last word, if more than one has it."""
    groups: dict[str, list[str]] = {}
    for tag in dict.fromkeys(tags):
        words = key(tag).split(" ")
        if len(words) > 1:
            groups.setdefault(words[-1], []).append(tag)
    return {head: members for head, members in groups.items() if 1 < len(members) <= _MAX_JOINED}


def _subsets(members: Sequence[str]) -> Iterator[Tags]:
    for n in range(len(members), 1, -1):
        yield from itertools.combinations(members, n)


def _joined(tags: Tags, head: str, *, knows: Callable[[str], bool]) -> str | None:
    """Return the tag that combines all of `tags`; None if there is none, or if two of them have a colour."""
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
    """Return the ambiguous tags, by their keys."""
    data: dict[str, Any] = read_data("generics")["vague"]
    return frozenset(map(key, data["tags"]))
