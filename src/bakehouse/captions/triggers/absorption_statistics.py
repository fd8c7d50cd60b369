"""Which trigger absorbs which trait: co-occurrence statistics behind `triggers explain`.

A caption may omit a tag whose trait is visible in the image. The trait is then learned by the word that is in the
caption whenever the trait is visible and not captioned. For a trait c and a trigger T:

    p(c | T) = exposures of T in which c is visible and omitted  /  all exposures of T

The trigger with the highest p absorbs the exposures of c in which it occurs. Among triggers with nearly the same p the
most general one does: a trait that a character and both its outfits explain equally well needs one explanation, not
three. The remaining exposures are assigned in the same way, until no trigger has enough of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bakehouse.data.compile_captions import CompiledImage, is_sentence
from bakehouse.data.tag_groups import group_of, head_of, plain
from bakehouse.data.triggers import Trigger

NEAR = 0.85
"""Share of the best p from which a trigger explains a trait equally well: crops and missed tags blur the figures."""
PARTLY = 0.3
"""Least p of a trigger that absorbs a trait."""
MOSTLY = 0.5
"""Least p at which a trigger may bring a trait that another one has absorbed."""

ExposureSet = frozenset[int]
"""Some exposures of an epoch, by their index in the list."""


@dataclass(frozen=True)
class Exposure:
    """One image with one of its captions, as it is trained in an epoch."""

    image: int
    weight: float
    """Repeats, divided by the number of captions of the image: one of them is drawn each time."""
    triggers: frozenset[str]
    captioned: frozenset[str]
    omitted: frozenset[str]
    """Tags that are visible and not in the caption. Both sets also hold the things that several tags are about."""


@dataclass(frozen=True)
class Absorption:
    """A trait that a trigger absorbs."""

    trait: str
    """A tag, or the thing that several tags are about: `dress`."""
    strength: float
    """p: the share of the trigger's exposures in which the trait is visible and omitted."""
    exposures: float
    """Exposures per epoch with the trigger in which the trait is visible and omitted."""
    elsewhere: float
    """Exposures without the trigger in which the trait is visible: they separate the word from the trait."""
    declared: bool
    """Whether the trigger's own declaration absorbs it; else other triggers' declarations leave it to this one."""


def exposures_of(compiled: Sequence[CompiledImage], repeats: Sequence[int]) -> tuple[Exposure, ...]:
    """Return the exposures of an epoch.

    Things are added to the tags: if `red dress` and `blue dress` are omitted, so is `dress`.

    Args:
        compiled: images with compiled captions.
        repeats: of each image.
    """
    things = _things(compiled)
    exposures = []
    for i, (image, n) in enumerate(zip(compiled, repeats, strict=True)):
        for wording in image.wordings:
            captioned, omitted = _with_things(wording.said, things), _with_things(wording.unsaid, things)
            weight = n / len(image.wordings)
            exposures.append(Exposure(i, weight, frozenset(wording.triggers), captioned, omitted - captioned))
    return tuple(exposures)


def absorptions(exposures: Sequence[Exposure], triggers: Sequence[Trigger]) -> dict[str, tuple[Absorption, ...]]:
    """Return what every trigger will absorb, by its word, the strongest first."""
    by_trigger = exposures_by_trigger(exposures, triggers)
    found: dict[str, list[Absorption]] = {t.word: [] for t in triggers}
    declared = {t.word: t for t in triggers}
    for trait, where in sorted(exposures_omitting(exposures).items()):
        for word, absorbed in _owners(where, by_trigger, exposures):
            found[word].append(_absorption(trait, declared[word], absorbed, by_trigger, exposures))
    return {t: tuple(sorted(a, key=lambda a: (-a.strength, a.trait))) for t, a in found.items()}


def exposures_by_trigger(exposures: Sequence[Exposure], triggers: Sequence[Trigger]) -> dict[str, ExposureSet]:
    """Return the exposures whose caption has each trigger; triggers without any are left out."""
    found = {t.word: frozenset(i for i, e in enumerate(exposures) if t.word in e.triggers) for t in triggers}
    return {word: where for word, where in found.items() if where}


def exposures_omitting(exposures: Sequence[Exposure]) -> dict[str, ExposureSet]:
    """Return, for every trait, the exposures in which it is visible and not captioned."""
    found: dict[str, set[int]] = defaultdict(set)
    for i, exposure in enumerate(exposures):
        for trait in exposure.omitted:
            found[trait].add(i)
    return {trait: frozenset(subset) for trait, subset in found.items()}


def total_weight(exposures: Sequence[Exposure], subset: ExposureSet) -> float:
    """Return the weight of some exposures: their number per epoch."""
    return sum(exposures[i].weight for i in subset)


def _with_things(tags: Collection[str], things: frozenset[str]) -> frozenset[str]:
    return frozenset({plain(t) for t in tags} | {head_of(t) for t in tags if head_of(t) in things})


def _things(compiled: Sequence[CompiledImage]) -> frozenset[str]:
    """Return what at least two different omitted tags are about: a thing may have another owner than each tag."""
    about: dict[str, set[str]] = defaultdict(set)
    for image in compiled:
        for wording in image.wordings:
            for tag in wording.unsaid:
                if group_of(tag) is not None and not is_sentence(tag):
                    about[head_of(tag)].add(tag)
    return frozenset(head for head, tags in about.items() if len(tags) > 1)


def _owners(
    subset: ExposureSet, by_trigger: Mapping[str, ExposureSet], exposures: Sequence[Exposure]
) -> list[tuple[str, ExposureSet]]:
    """Return the triggers that absorb a trait, each with the exposures that it takes."""
    left, assigned = subset, list[tuple[str, ExposureSet]]()
    while True:
        shares = {
            t: total_weight(exposures, left & own) / total_weight(exposures, own) for t, own in by_trigger.items()
        }
        best = max(shares.values(), default=0.0)
        if best < PARTLY:
            return assigned
        near = [t for t, p in shares.items() if p >= NEAR * best]
        widest = max(near, key=lambda t: total_weight(exposures, by_trigger[t]))
        assigned += [(t, left & by_trigger[t]) for t in near if by_trigger[t] == by_trigger[widest]]
        left -= by_trigger[widest]


def _absorption(
    trait: str,
    trigger: Trigger,
    absorbed: ExposureSet,
    by_trigger: Mapping[str, ExposureSet],
    exposures: Sequence[Exposure],
) -> Absorption:
    own = by_trigger[trigger.word]
    elsewhere = (i for i, e in enumerate(exposures) if i not in own and (trait in e.captioned or trait in e.omitted))
    return Absorption(
        trait,
        strength=total_weight(exposures, absorbed) / total_weight(exposures, own),
        exposures=total_weight(exposures, absorbed),
        elsewhere=total_weight(exposures, frozenset(elsewhere)),
        declared=trigger.takes(trait),
    )


def captioned_shares(exposures: Sequence[Exposure], word: str) -> dict[str, float]:
    """Return, for every tag in captions with a trigger, the share of the trigger's exposures that have it."""
    return _shares((e.weight, e.captioned) for e in exposures if word in e.triggers)


def omitted_shares(exposures: Sequence[Exposure], word: str) -> dict[str, float]:
    """Return p(c | T): for every visible, omitted trait the share of the trigger's exposures."""
    return _shares((e.weight, e.omitted) for e in exposures if word in e.triggers)


def _shares(weighted: Iterable[tuple[float, Collection[str]]]) -> dict[str, float]:
    counts: dict[str, float] = defaultdict(float)
    whole = 0.0
    for weight, tags in weighted:
        whole += weight
        for tag in tags:
            counts[tag] += weight
    return {tag: n / whole for tag, n in counts.items()}
