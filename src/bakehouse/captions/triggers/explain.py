"""`triggers explain`: what each trigger will absorb, computed from the captions before training."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bakehouse.captions.triggers.absorption_statistics import (
    MOSTLY,
    Absorption,
    Exposure,
    absorptions,
    captioned_shares,
    exposures_of,
    omitted_shares,
)
from bakehouse.captions.triggers.findings import TriggerFinding, findings
from bakehouse.data.compile_captions import CompiledImage
from bakehouse.data.tag_groups import group_of
from bakehouse.data.triggers import LEVELS, Trigger

_JSON_KEYS = {
    "action": "what",
    "captioned": "keeps",
    "co_occurring": "comes_along",
    "effective_strategy": "realised",
    "exposures": "shows",
    "trait": "what",
}
"""Fields whose key in JSON differs."""


@dataclass(frozen=True)
class ExplainedTrigger:
    """What one trigger will learn."""

    word: str
    kind: str
    strategy: str
    """As declared: a name, or a level."""
    images: int
    exposures: float
    """Per epoch."""
    absorbs: tuple[Absorption, ...]
    co_occurring: Mapping[str, float]
    """Traits that other triggers absorb and that most of its exposures have too, with their share: a prompt with this
    word alone may bring them, because the word was hardly ever trained without them."""
    captioned: Mapping[str, float]
    """Tags of its appearance that captions keep, with the share of its exposures: prompts control them."""
    effective_strategy: str
    """The strategy that the captions amount to: how much of what a static trigger absorbs they omit. Empty if none of
    the tags belongs to the appearance."""


@dataclass(frozen=True)
class TriggersTogether:
    """Images whose captions have the same triggers, none beside them: an area of the Venn diagram."""

    triggers: tuple[str, ...]
    """Empty for captions without any."""
    images: int
    exposures: float
    """Per epoch."""


@dataclass(frozen=True)
class Explanation:
    """All triggers of a dataset, and the findings about them."""

    triggers: tuple[ExplainedTrigger, ...]
    findings: tuple[TriggerFinding, ...]
    images: int
    exposures: float
    """Per epoch."""
    together: tuple[TriggersTogether, ...] = ()
    """Which triggers occur together, most images first. An image with two captions may count in two."""

    @property
    def errors(self) -> tuple[TriggerFinding, ...]:
        """Findings that make a training pointless."""
        return tuple(f for f in self.findings if f.level == "error")

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as `--json` prints it."""
        return dataclasses.asdict(
            self, dict_factory=lambda fields: {_JSON_KEYS.get(name, name): value for name, value in fields}
        )


def explain(compiled: Sequence[CompiledImage], triggers: Sequence[Trigger], repeats: Sequence[int]) -> Explanation:
    """Return what every trigger will absorb.

    Args:
        compiled: of `compile_captions`.
        triggers: those that it compiled with.
        repeats: of each image, per epoch.
    """
    exposures = exposures_of(compiled, repeats)
    absorbed = absorptions(exposures, triggers)
    return Explanation(
        tuple(_explained(t, exposures, absorbed) for t in triggers),
        tuple(findings(compiled, exposures, triggers)),
        images=len(compiled),
        exposures=sum(e.weight for e in exposures),
        together=_together(exposures, [t.word for t in triggers]),
    )


def _together(exposures: Sequence[Exposure], words: Sequence[str]) -> tuple[TriggersTogether, ...]:
    found = []
    for have in dict.fromkeys(e.triggers for e in exposures):
        own = [e for e in exposures if e.triggers == have]
        shown = tuple(word for word in words if word in have)
        found.append(TriggersTogether(shown, len({e.image for e in own}), sum(e.weight for e in own)))
    return tuple(sorted(found, key=lambda t: (-t.images, t.triggers)))


def _explained(
    trigger: Trigger, exposures: Sequence[Exposure], absorbed: Mapping[str, tuple[Absorption, ...]]
) -> ExplainedTrigger:
    others = {a.trait for word, found in absorbed.items() if word != trigger.word for a in found}
    own = [e for e in exposures if trigger.word in e.triggers]
    static = trigger.model_copy(update={"strategy": "static", "keeps": ()})
    captioned, omitted = captioned_shares(exposures, trigger.word), omitted_shares(exposures, trigger.word)
    foreign = others - {a.trait for a in absorbed[trigger.word]}
    return ExplainedTrigger(
        trigger.word,
        trigger.kind,
        str(trigger.strategy),
        images=len({e.image for e in own}),
        exposures=sum(e.weight for e in own),
        absorbs=absorbed[trigger.word],
        co_occurring=_descending({trait: p for trait, p in omitted.items() if trait in foreign and p >= MOSTLY}),
        captioned=_descending({tag: share for tag, share in captioned.items() if group_of(tag) in static.groups}),
        effective_strategy=_effective_strategy(own, static, others),
    )


def _descending(shares: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(shares.items(), key=lambda kv: (-kv[1], kv[0])))


def _effective_strategy(own: Sequence[Exposure], static: Trigger, others: Collection[str]) -> str:
    """Return `fluid` if captions keep nine tenths of the appearance, `static` if a tenth; empty if no tag is of it.

    Traits that other triggers absorb are not part of the appearance.
    """
    captioned = sum(e.weight * len([t for t in e.captioned if group_of(t) in static.groups]) for e in own)
    omitted = sum(
        e.weight * len([t for t in e.omitted if group_of(t) in static.groups and t not in others]) for e in own
    )
    if not captioned + omitted:
        return ""
    share = captioned / (captioned + omitted)
    fluid, semi, fixed = LEVELS
    return fluid if share >= 0.9 else fixed if share <= 0.1 else semi
