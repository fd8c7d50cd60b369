"""F: masks. The share of the loss that they leave, and whether they are plausible."""

from __future__ import annotations

from collections.abc import Iterable

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import CheckFinding, percent
from bakehouse.audit.facts import Facts
from bakehouse.core.message_text import counted


def unusable(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """F01: masks that cannot be used."""
    bad = {m.name: m.problem for m in facts.masks if m.problem}
    if bad:
        yield CheckFinding(f"{counted(len(bad), 'mask')} that cannot be used", tuple(bad), bad)


def implausible(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """F02: masks that probably miss the subject."""
    bad = {m.name: "; ".join(m.faults) for m in facts.masks if m.faults}
    if bad:
        why = f"{counted(len(bad), 'mask')} that may be wrong: parts of the subject would not be learned"
        yield CheckFinding(why, tuple(bad), bad)


def loss_share(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """F03: the share of the loss that masks leave."""
    shares = [m.share for m in facts.masks if not m.problem]
    if shares:
        low, mean, high = (percent(x) for x in (min(shares), sum(shares) / len(shares), max(shares)))
        why = f"{counted(len(shares), 'mask')} keeping {low} to {high} of the loss, {mean} on average"
        yield CheckFinding(why, fix="")


def missing_masks(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """F04: images without a mask in folders that have masks."""
    masked = {m.image for m in facts.masks if m.image and not m.problem}
    for group in facts.train_groups:
        bare = tuple(i.name for i in group.images if i.name not in masked)
        if bare and len(bare) < len(group.images):
            label = group.name or "the folder"
            why = f"{len(bare)} of {counted(len(group.images), 'image')} in {label} without a mask"
            yield CheckFinding(f"{why}: trained unmasked here, refused by kohya", bare, key=group.name)
