"""The declared triggers, put to the images: captions are compiled in memory and explained once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bakehouse.audit.image_facts import Group, TriggerFacts
from bakehouse.captions.triggers import explain, shows_of
from bakehouse.captions.triggers.exposure import said_with
from bakehouse.core.errors import Problems
from bakehouse.data.triggers import Trigger, compile_captions


def read_triggers(root: Path, groups: Sequence[Group], triggers: Sequence[Trigger]) -> TriggerFacts:
    """What the triggers come to in the groups that are taught; nothing where there are none."""
    taught = [(i.record, g.repeats or 1) for g in groups if g.role == "train" for i in g.images if i.record is not None]
    if not triggers or not taught:
        return TriggerFacts()
    try:
        compiled = compile_captions([record for record, _ in taught], triggers, [root])
    except Problems as e:
        return TriggerFacts(problems=e.problems)
    repeats = [n for _, n in taught]
    shows = shows_of(compiled, repeats)
    said = {trigger.word: said_with(shows, trigger.word) for trigger in triggers}
    return TriggerFacts(compiled, explain(compiled, triggers, repeats), said)
