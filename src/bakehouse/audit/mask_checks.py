"""F: masks. What they leave of the loss, and whether they can be trusted."""

from __future__ import annotations

from collections.abc import Iterable

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import Hit, percent
from bakehouse.audit.image_facts import Facts
from bakehouse.core.pluralize import counted


def unfit(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """F01."""
    bad = {m.name: m.problem for m in facts.masks if m.problem}
    if bad:
        yield Hit(f"{counted(len(bad), 'mask')} that cannot be used", tuple(bad), bad)


def doubtful(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """F02."""
    bad = {m.name: "; ".join(m.faults) for m in facts.masks if m.faults}
    if bad:
        yield Hit(
            f"{counted(len(bad), 'mask')} that may be wrong: parts of the subject would not be learned", tuple(bad), bad
        )


def kept(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """F03."""
    shares = [m.share for m in facts.masks if not m.problem]
    if shares:
        low, mean, high = (percent(x) for x in (min(shares), sum(shares) / len(shares), max(shares)))
        yield Hit(f"{counted(len(shares), 'mask')} keeping {low} to {high} of the loss, {mean} on average", mend="")


def mixed(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """F04."""
    masked = {m.image for m in facts.masks if m.image and not m.problem}
    for group in facts.taught_groups:
        bare = tuple(i.name for i in group.images if i.name not in masked)
        if bare and len(bare) < len(group.images):
            where = group.name or "the folder"
            why = f"{len(bare)} of {counted(len(group.images), 'image')} in {where} have no mask"
            yield Hit(f"{why}: kohya refuses such a mix; here they are trained whole", bare, key=group.name)
