"""B13: the same picture more than once, by the very judgement with which `dataset dedupe` acts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import Hit, Level
from bakehouse.audit.image_facts import Facts
from bakehouse.core.pluralize import counted
from bakehouse.curation.dedupe import Dedupe, DuplicateFinding
from bakehouse.data.image_records import ImageSet


def copies(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B13."""
    seen = [(i.record, i.pixels.look) for i in facts.usable if i.record is not None and i.pixels is not None]
    images = ImageSet(tuple(record for record, _ in seen), root=facts.root)
    found = Dedupe().findings(images, hashes=[look for _, look in seen])
    names = {i.path: i.name for i in facts.usable}
    reg = {i.path for i in facts.reg}
    leaks = [f for f in found if (f.keep.path in reg) != (f.other.path in reg) and f.kind != "variant"]
    rest = [f for f in found if f not in leaks]
    kinds: tuple[tuple[list[DuplicateFinding], Level, str, str], ...] = (
        (leaks, "error", "reg", "both taught and among the regularization images: one unteaches the other"),
        (_of(rest, "duplicate"), "warning", "", "there already in a better copy: what is shown twice is learned twice"),
        (_of(rest, "variant"), "info", "variant", "the same as another but for one place: variants stay"),
        (_of(rest, "near"), "info", "crop", "cut out of another image: both views teach"),
    )
    for findings, level, key, why in kinds:
        notes = {names[f.other.path]: f"{f.why} ({names[f.keep.path]})" for f in findings}
        if notes:
            mend = "" if level == "info" else None
            yield Hit(f"{counted(len(notes), 'image')} {why}", tuple(notes), notes, level, key, mend)


def _of(found: Sequence[DuplicateFinding], verdict: str) -> list[DuplicateFinding]:
    return [f for f in found if f.kind == verdict]
