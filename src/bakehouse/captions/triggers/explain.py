"""`triggers explain`: what each trigger will absorb, before a step of training is spent on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bakehouse.captions.triggers.exposure import MOSTLY, Absorption, Show, absorptions, said_with, shows_of, unsaid_with
from bakehouse.captions.triggers.findings import Finding, findings
from bakehouse.data.tag_groups import group_of
from bakehouse.data.triggers import LEVELS, CompiledImage, Trigger


@dataclass(frozen=True)
class Explained:
    """One trigger in one set of images."""

    word: str
    kind: str
    strategy: str
    """As declared: a name, or a level."""
    images: int
    shows: float
    """Of an epoch."""
    absorbs: tuple[Absorption, ...]
    comes_along: Mapping[str, float]
    """What other triggers absorb and most of its shows hold as well, with their share: where a prompt says nothing
    else, the word may bring it, for it was hardly ever seen without."""
    keeps: Mapping[str, float]
    """Tags of its look that captions go on saying, with the share of its shows that do: prompts decide on them."""
    realised: str
    """The strategy that the captions come to: how much of the look that a static trigger takes is in fact left out."""


@dataclass(frozen=True)
class Explanation:
    """All triggers of a set, and what is to be said about them together."""

    triggers: tuple[Explained, ...]
    findings: tuple[Finding, ...]
    images: int
    shows: float

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that make a training pointless."""
        return tuple(f for f in self.findings if f.level == "error")

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return dataclasses.asdict(self)


def explain(compiled: Sequence[CompiledImage], triggers: Sequence[Trigger], repeats: Sequence[int]) -> Explanation:
    """What every trigger will absorb.

    Args:
        compiled: by `compile_captions`.
        triggers: the same that they were compiled with.
        repeats: how often an epoch shows each image.
    """
    shows = shows_of(compiled, repeats)
    absorbed = absorptions(shows, triggers)
    return Explanation(
        tuple(_explained(t, shows, absorbed) for t in triggers),
        tuple(findings(compiled, shows, triggers)),
        images=len(compiled),
        shows=sum(s.weight for s in shows),
    )


def _explained(trigger: Trigger, shows: Sequence[Show], absorbed: Mapping[str, tuple[Absorption, ...]]) -> Explained:
    others = {a.what for word, found in absorbed.items() if word != trigger.word for a in found}
    mine = [s for s in shows if trigger.word in s.triggers]
    static = trigger.model_copy(update={"strategy": "static", "keeps": ()})
    said = said_with(shows, trigger.word)
    beside, own = unsaid_with(shows, trigger.word), {a.what for a in absorbed[trigger.word]}
    look = {tag: share for tag, share in said.items() if group_of(tag) in static.groups}
    return Explained(
        trigger.word,
        trigger.kind,
        str(trigger.strategy),
        images=len({s.image for s in mine}),
        shows=sum(s.weight for s in mine),
        absorbs=absorbed[trigger.word],
        comes_along=_most_first({what: p for what, p in beside.items() if what in others - own and p >= MOSTLY}),
        keeps=_most_first(look),
        realised=_realised(mine, static, others),
    )


def _most_first(shares: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(shares.items(), key=lambda kv: (-kv[1], kv[0])))


def _realised(mine: Sequence[Show], static: Trigger, others: Collection[str]) -> str:
    """`fluid` with nine tenths of the look said, `static` with a tenth; empty where no tag of a look is known.

    What other triggers take is their look.
    """
    said = sum(s.weight * len([t for t in s.said if group_of(t) in static.groups]) for s in mine)
    own = [(s.weight, [t for t in s.unsaid if group_of(t) in static.groups and t not in others]) for s in mine]
    unsaid = sum(weight * len(tags) for weight, tags in own)
    if not said + unsaid:
        return ""
    share = said / (said + unsaid)
    fluid, semi, fixed = LEVELS
    return fluid if share >= 0.9 else fixed if share <= 0.1 else semi
