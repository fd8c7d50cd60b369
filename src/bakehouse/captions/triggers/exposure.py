"""Who absorbs what: the arithmetic of sets behind `triggers explain`.

A caption leaves a tag out; the picture shows it all the same. The tag goes to the word that is there whenever the thing
is seen and not said. For a thing c and a trigger T:

    p(c | T) = shows of T in which c is seen and not said  /  all shows of T

The trigger with the highest p takes the shows of c that it stands in; among near equals the most general one does,
since what a character and both its outfits explain equally well needs one explanation, not three. Then the rest is
given away in the same manner, until no trigger shows enough of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bakehouse.data.tag_groups import group_of, head_of, plain
from bakehouse.data.triggers import CompiledImage, Trigger, is_sentence

NEAR = 0.85
"""Of the best p: who comes so near explains a thing equally well. Crops and missed tags smear the figures."""
PARTLY = 0.3
"""Below this p a trigger has not learned the thing: it is one of several that come with it."""
STRONGLY = 0.8
"""From this p on the trigger alone brings the thing."""

MOSTLY = 0.5
"""From this p on a trigger may bring a thing that another one has absorbed."""

Shown = frozenset[int]
"""Some of the shows of an epoch, by their numbers in the list."""


@dataclass(frozen=True)
class Show:
    """One caption of one image as an epoch shows it."""

    image: int
    weight: float
    """Repeats, divided among the captions of the image: one of them is drawn each time."""
    triggers: frozenset[str]
    said: frozenset[str]
    unsaid: frozenset[str]
    """Tags that the picture holds and the caption does not; with `said`, by the things that they are about, too."""


@dataclass(frozen=True)
class Absorption:
    """What one trigger takes into itself."""

    what: str
    """A tag, or the thing that several tags are about: `dress`."""
    strength: float
    """p: the share of the trigger's shows in which it is seen and not said."""
    shows: float
    """Of an epoch, in which it is seen and not said together with the trigger."""
    elsewhere: float
    """Shows without the trigger in which it is said or seen: what tells the word from the thing."""
    declared: bool
    """Whether the trigger's own declaration takes it; else it comes to it by the others'."""
    shared_with: tuple[str, ...] = ()
    """Triggers that stand in the very same captions."""


def shows_of(compiled: Sequence[CompiledImage], repeats: Sequence[int]) -> tuple[Show, ...]:
    """The shows of an epoch. Things are added to the tags: with `red dress` and `blue dress` unsaid, so is `dress`."""
    things = _things(compiled)
    shows = []
    for i, (image, n) in enumerate(zip(compiled, repeats, strict=True)):
        for wording in image.wordings:
            said, unsaid = _with_things(wording.said, things), _with_things(wording.unsaid, things)
            weight = n / len(image.wordings)
            shows.append(Show(i, weight, frozenset(wording.triggers), said, unsaid - said))
    return tuple(shows)


def absorptions(shows: Sequence[Show], triggers: Sequence[Trigger]) -> dict[str, tuple[Absorption, ...]]:
    """For every trigger's word what it will absorb, the strongest first."""
    standing = standing_of(shows, triggers)
    found: dict[str, list[Absorption]] = {t.word: [] for t in triggers}
    declared = {t.word: t for t in triggers}
    for what, where in sorted(unsaid_in(shows).items()):
        for word, taken in _owners(where, standing, shows):
            found[word].append(_absorption(what, declared[word], taken, standing, shows))
    return {t: tuple(sorted(a, key=lambda a: (-a.strength, a.what))) for t, a in found.items()}


def standing_of(shows: Sequence[Show], triggers: Sequence[Trigger]) -> dict[str, Shown]:
    """The shows in which each trigger stands; triggers that stand in none are left out."""
    standing = {t.word: frozenset(i for i, s in enumerate(shows) if t.word in s.triggers) for t in triggers}
    return {word: where for word, where in standing.items() if where}


def unsaid_in(shows: Sequence[Show]) -> dict[str, Shown]:
    """For everything that is seen and not said, the shows in which it is."""
    found: dict[str, set[int]] = defaultdict(set)
    for i, show in enumerate(shows):
        for what in show.unsaid:
            found[what].add(i)
    return {what: frozenset(where) for what, where in found.items()}


def total(shows: Sequence[Show], where: Shown) -> float:
    """Shows of an epoch, by their numbers in the list."""
    return sum(shows[i].weight for i in where)


def _with_things(tags: Collection[str], things: frozenset[str]) -> frozenset[str]:
    return frozenset({plain(t) for t in tags} | {head_of(t) for t in tags if head_of(t) in things})


def _things(compiled: Sequence[CompiledImage]) -> frozenset[str]:
    """What at least two different unsaid tags are about, so that the thing can have another owner than each tag."""
    about: dict[str, set[str]] = defaultdict(set)
    for image in compiled:
        for wording in image.wordings:
            for tag in wording.unsaid:
                if group_of(tag) is not None and not is_sentence(tag):
                    about[head_of(tag)].add(tag)
    return frozenset(head for head, tags in about.items() if len(tags) > 1)


def _owners(where: Shown, standing: Mapping[str, Shown], shows: Sequence[Show]) -> list[tuple[str, Shown]]:
    """The triggers that take the shows of one thing, each with those that it takes."""
    left, given = where, list[tuple[str, Shown]]()
    while True:
        shares = {t: total(shows, left & mine) / total(shows, mine) for t, mine in standing.items()}
        best = max(shares.values(), default=0.0)
        if best < PARTLY:
            return given
        near = [t for t, p in shares.items() if p >= NEAR * best]
        widest = max(near, key=lambda t: total(shows, standing[t]))
        given += [(t, left & standing[t]) for t in near if standing[t] == standing[widest]]
        left -= standing[widest]


def _absorption(
    what: str, trigger: Trigger, taken: Shown, standing: Mapping[str, Shown], shows: Sequence[Show]
) -> Absorption:
    mine = standing[trigger.word]
    elsewhere = (i for i, s in enumerate(shows) if i not in mine and (what in s.said or what in s.unsaid))
    return Absorption(
        what,
        strength=total(shows, taken) / total(shows, mine),
        shows=total(shows, taken),
        elsewhere=total(shows, frozenset(elsewhere)),
        declared=trigger.takes(what),
        shared_with=tuple(t for t, there in standing.items() if t != trigger.word and there == mine),
    )


def said_with(shows: Sequence[Show], word: str) -> dict[str, float]:
    """For every tag that captions say beside a trigger, the share of the trigger's shows that say it."""
    return _shares((s.weight, s.said) for s in shows if word in s.triggers)


def unsaid_with(shows: Sequence[Show], word: str) -> dict[str, float]:
    """p(c | T): for everything seen and not said beside a trigger, the share of the trigger's shows."""
    return _shares((s.weight, s.unsaid) for s in shows if word in s.triggers)


def _shares(weighted: Iterable[tuple[float, Collection[str]]]) -> dict[str, float]:
    counts: dict[str, float] = defaultdict(float)
    whole = 0.0
    for weight, tags in weighted:
        whole += weight
        for tag in tags:
            counts[tag] += weight
    return {tag: n / whole for tag, n in counts.items()}
