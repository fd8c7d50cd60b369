"""Compile captions from the declared triggers in memory and explain them once, for the trigger checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bakehouse.audit.facts import Group, TriggerFacts
from bakehouse.captions.triggers import explain, exposures_of
from bakehouse.captions.triggers.absorption_statistics import captioned_shares
from bakehouse.core.errors import Problems
from bakehouse.data.compile_captions import compile_captions
from bakehouse.data.triggers import Trigger


def collect_trigger_facts(root: Path, groups: Sequence[Group], triggers: Sequence[Trigger]) -> TriggerFacts:
    """Return the compiled captions and the explanation of the triggers; empty without triggers or training images."""
    images = [(i.record, g.repeats or 1) for g in groups if g.role == "train" for i in g.images if i.record is not None]
    if not triggers or not images:
        return TriggerFacts()
    try:
        compiled = compile_captions([record for record, _ in images], triggers, [root])
    except Problems as e:
        return TriggerFacts(problems=e.problems)
    repeats = [n for _, n in images]
    exposures = exposures_of(compiled, repeats)
    shares = {trigger.word: captioned_shares(exposures, trigger.word) for trigger in triggers}
    return TriggerFacts(compiled, explain(compiled, triggers, repeats), shares)
