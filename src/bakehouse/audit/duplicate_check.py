"""B13: duplicate images, found by the same matcher as `dataset dedupe`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import CheckFinding
from bakehouse.audit.facts import Facts
from bakehouse.core.checks import Level
from bakehouse.core.message_text import counted
from bakehouse.curation.dedupe import Dedupe, DuplicateFinding
from bakehouse.data.image_records import ImageSet


def duplicates(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B13: duplicate images."""
    hashed = [(i.record, i.pixels.hashes) for i in facts.usable if i.record is not None and i.pixels is not None]
    images = ImageSet(tuple(record for record, _ in hashed), root=facts.root)
    found = Dedupe().findings(images, hashes=[hashes for _, hashes in hashed])
    names = {i.path: i.name for i in facts.usable}
    class_images = {i.path for i in facts.class_images}
    shared = [f for f in found if (f.keep.path in class_images) != (f.other.path in class_images)]
    shared = [f for f in shared if f.kind != "variant"]
    rest = [f for f in found if f not in shared]
    kinds: tuple[tuple[list[DuplicateFinding], Level, str, str], ...] = (
        (shared, "error", "reg", "both in the training and among the class images: the two work against each other"),
        (_with(rest, "duplicate"), "warning", "", "with a better copy in the dataset: duplicates are learned twice"),
        (_with(rest, "variant"), "info", "variant", "identical to another but for one region: variants are kept"),
        (_with(rest, "near"), "info", "crop", "cropped from another image: both are useful for training"),
    )
    for findings, level, key, why in kinds:
        notes = {names[one.path]: f"{f.why} ({names[f.keep.path]})" for f in findings for one in f.others}
        if notes:
            fix = "" if level == "info" else None
            yield CheckFinding(f"{counted(len(notes), 'image')} {why}", tuple(notes), notes, level, key, fix)


def _with(found: Sequence[DuplicateFinding], kind: str) -> list[DuplicateFinding]:
    return [f for f in found if f.kind == kind]
