"""B02 and B03: crop loss and underfilled buckets, and the bucket step that fixes them.

A finer step loses less and makes more buckets, a coarser one the opposite, so that advice for one finding alone would
cause the other. The step that is recommended here fixes its finding and makes nothing worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import CheckFinding, image_findings, percent
from bakehouse.audit.facts import Facts, ImageFacts
from bakehouse.core.checks import Level
from bakehouse.core.message_text import counted
from bakehouse.data.buckets import Placement, assign, bucket_table

STEPS = (16, 32, 64, 128, 256)
"""Sides of buckets are multiples of one of these, in pixels. The networks take every multiple of 8."""
_SLACK = 0.01
"""Share of a side that may be cut from a face."""
_PREVIEW = "`bakehouse dataset bucket FOLDER --preview page.html` shows what is cut"
_CROP_BY_HAND = f"crop them by hand to an aspect ratio that keeps the subject: {_PREVIEW}"
_FEWER_SHAPES = f"crop the images to fewer aspect ratios: {_PREVIEW}"
_FILL = f"crop them to the aspect ratio of other images ({_PREVIEW}), give them more repeats, or lower the batch size"


@dataclass(frozen=True)
class BucketAssignment:
    """The training images, by name, in the buckets of one bucket step."""

    step: int
    placements: Mapping[str, Placement]
    buckets: int
    """Number of buckets in use."""
    over: AbstractSet[str]
    """Images whose crop loss exceeds `limits.lost`."""
    far_over: AbstractSet[str]
    """Images whose crop loss exceeds `limits.lost_badly`."""
    cut_faces: AbstractSet[str]
    """Images of which a face is cut."""
    underfilled: AbstractSet[str]
    """Images in buckets with fewer images than a batch."""

    def bucket(self, name: str) -> str:
        """Return the bucket of an image: `384 x 640`."""
        width, height = self.placements[name].bucket
        return f"{width} x {height}"

    def crop_note(self, name: str) -> str:
        """Return `384 x 640 loses 10 %`."""
        return f"{self.bucket(name)} loses {percent(self.placements[name].lost_fraction)}"


def crop_loss(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B02: images that lose much of their area to the bucket crop, or part of a face."""
    now = assign_buckets(facts, spec, spec.buckets.step)
    better = _better_step(facts, spec, now)
    least, most = (percent(limit) for limit in (spec.limits.lost, spec.limits.lost_badly))
    kinds: Sequence[tuple[AbstractSet[str], str, Level | None, str]] = (
        (now.cut_faces, "{n} with a face cut by the bucket", "error", "face"),
        (now.far_over - now.cut_faces, f"{{n}} cropped by more than {most} of the area", "error", "far"),
        (now.over - now.far_over - now.cut_faces, f"{{n}} cropped by more than {least} of the area", None, ""),
    )
    for names, why, level, key in kinds:
        fixed = names - better.over - better.cut_faces if better else frozenset[str]()
        notes = {name: now.crop_note(name) for name in now.placements if name in names}
        by_step = {name: note for name, note in notes.items() if name in fixed}
        by_hand = {name: note for name, note in notes.items() if name not in fixed}
        if better:
            yield from image_findings(
                by_step, why, level=level, key=f"{key} step".strip(), fix=_plan(better), advice=""
            )
        yield from image_findings(by_hand, why, level=level, key=key, fix="", advice=_CROP_BY_HAND)


def bucket_count(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B03: too many buckets, or buckets with fewer images than a batch."""
    now = assign_buckets(facts, spec, spec.buckets.step)
    better = _better_step(facts, spec, now)
    if now.buckets > spec.limits.buckets:
        why = f"{now.buckets} buckets for {counted(len(now.placements), 'image')}: many batches are not full"
        helps = better is not None and better.buckets <= spec.limits.buckets
        yield CheckFinding(why, key="many", fix=_plan(better) if helps else "", advice="" if helps else _FEWER_SHAPES)
    if now.underfilled:
        sizes = {now.bucket(name) for name in now.underfilled}
        notes = {name: f"in {now.bucket(name)}" for name in now.placements if name in now.underfilled}
        why = f"{{n}} in {counted(len(sizes), 'bucket')} with fewer images than the batch size of {spec.batch}"
        helps = better is not None and not better.underfilled
        yield from image_findings(notes, why, fix=_plan(better) if helps else "", advice="" if helps else _FILL)


def assign_buckets(facts: Facts, spec: AuditSpec, step: int) -> BucketAssignment:
    """Assign the training images to the buckets of a bucket step, in pixels."""
    images = [image for image in facts.train_images if image.placement is not None]
    placed = assign([image.size for image in images], spec.buckets.model_copy(update={"step": step}))
    rows = bucket_table(placed, spec.batch, repeats=[facts.repeats[image.name] for image in images])
    underfilled = {row.bucket for row in rows if row.images < spec.batch}
    pairs = list(zip(images, placed, strict=True))
    return BucketAssignment(
        step=step,
        placements={image.name: p for image, p in pairs},
        buckets=len(rows),
        over={image.name for image, p in pairs if p.lost_fraction > spec.limits.lost},
        far_over={image.name for image, p in pairs if p.lost_fraction > spec.limits.lost_badly},
        cut_faces={image.name for image, p in pairs if _cuts_a_face(image, p)},
        underfilled={image.name for image, p in pairs if p.bucket in underfilled},
    )


def _better_step(facts: Facts, spec: AuditSpec, now: BucketAssignment) -> BucketAssignment | None:
    """Return the step that fixes most and makes nothing worse, if there is one; of equal ones the nearest."""
    most = spec.limits.buckets

    def faults(assigned: BucketAssignment) -> tuple[int, int, int]:
        return len(assigned.over | assigned.cut_faces), max(0, assigned.buckets - most), len(assigned.underfilled)

    found = []
    for step in STEPS:
        if step == now.step or step > spec.buckets.resolution:
            continue
        other = assign_buckets(facts, spec, step)
        harmless = other.over <= now.over and other.far_over <= now.far_over and other.cut_faces <= now.cut_faces
        if harmless and all(new <= old for new, old in zip(faults(other), faults(now), strict=True)):
            found.append(other)
    best = min(found, key=lambda s: (faults(s), abs(s.step - now.step)), default=None)
    return best if best is not None and faults(best) != faults(now) else None


def _cuts_a_face(image: ImageFacts, placement: Placement) -> bool:
    width, height = placement.resized
    left, top, right, bottom = placement.crop_box
    kept = (left / width - _SLACK, top / height - _SLACK, right / width + _SLACK, bottom / height + _SLACK)
    return any(
        f.left < kept[0] or f.top < kept[1] or f.right > kept[2] or f.bottom > kept[3] for f in image.faces or ()
    )


def _plan(assigned: BucketAssignment | None) -> str:
    """Return the command that plans with another bucket step."""
    return f"bakehouse plan {{plan}} --set buckets.step={assigned.step} -o {{recipe}}" if assigned else ""
