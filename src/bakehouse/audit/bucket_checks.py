"""B02 and B03: what buckets cut away, and whether they are filled. One other step of the buckets may mend both.

A finer step fits shapes better and makes more buckets, a coarser one the opposite, so that advice for one fault alone
brings the other. The step that is named here mends what it is named for and makes nothing worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import Hit, Level, each, percent
from bakehouse.audit.image_facts import Facts, ImageFacts
from bakehouse.core.pluralize import counted
from bakehouse.data.buckets import Placement, assign, bucket_table

STEPS = (16, 32, 64, 128, 256)
"""Sides of buckets are multiples of one of these, in pixels. The networks take every multiple of 8."""
_SLACK = 0.01
"""Of a side: so much of a face may be cut."""
_LOOK = "`bakehouse dataset bucket FOLDER --preview page.html` shows what is lost"
_CUT = f"cut them by hand to a shape that loses nothing of the subject: {_LOOK}"
_FEWER = f"cut the images to fewer shapes: {_LOOK}"
_FILL = f"cut them to the shape of other images ({_LOOK}), give them more repeats, or train with a smaller batch"


@dataclass(frozen=True)
class Shapes:
    """The images of a dataset in the buckets of one step. Images are known by name."""

    step: int
    placements: Mapping[str, Placement]
    buckets: int
    """In use."""
    over: AbstractSet[str]
    """Images that lose more of their area than the limit."""
    far: AbstractSet[str]
    """Those of them that lose more than the second limit."""
    faces: AbstractSet[str]
    """Images of which a face is cut."""
    short: AbstractSet[str]
    """Images in buckets with fewer images than a batch."""

    def bucket(self, name: str) -> str:
        """The bucket of an image in words: `384 x 640`."""
        width, height = self.placements[name].bucket
        return f"{width} x {height}"

    def lost(self, name: str) -> str:
        """`384 x 640 loses 10 %`."""
        return f"{self.bucket(name)} loses {percent(self.placements[name].lost_fraction)}"


def cut(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B02."""
    now = shapes_of(facts, spec, spec.buckets.step)
    better = _better(facts, spec, now)
    least, most = (percent(limit) for limit in (spec.limits.lost, spec.limits.lost_badly))
    kinds: Sequence[tuple[AbstractSet[str], str, Level | None, str]] = (
        (now.faces, "{n} of which the bucket cuts a face", "error", "face"),
        (now.far - now.faces, f"{{n}} losing more than {most} of the area to the bucket", "error", "far"),
        (now.over - now.far - now.faces, f"{{n}} losing more than {least} of the area to the bucket", None, ""),
    )
    for names, why, level, key in kinds:
        mended = names - better.over - better.faces if better else frozenset[str]()
        notes = {name: now.lost(name) for name in now.placements if name in names}
        by_step = {name: note for name, note in notes.items() if name in mended}
        by_hand = {name: note for name, note in notes.items() if name not in mended}
        if better:
            yield from each(by_step, why, level=level, key=f"{key} step".strip(), mend=_plan(better), advice="")
        yield from each(by_hand, why, level=level, key=key, mend="", advice=_CUT)


def filled(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B03."""
    now = shapes_of(facts, spec, spec.buckets.step)
    better = _better(facts, spec, now)
    if now.buckets > spec.limits.buckets:
        why = f"{now.buckets} buckets for {counted(len(now.placements), 'image')}: many steps are not full"
        helps = better is not None and better.buckets <= spec.limits.buckets
        yield Hit(why, key="many", mend=_plan(better) if helps else "", advice="" if helps else _FEWER)
    if now.short:
        sizes = {now.bucket(name) for name in now.short}
        notes = {name: f"in {now.bucket(name)}" for name in now.placements if name in now.short}
        why = f"{{n}} in {counted(len(sizes), 'bucket')} with fewer images than the batch of {spec.batch}"
        helps = better is not None and not better.short
        yield from each(notes, why, mend=_plan(better) if helps else "", advice="" if helps else _FILL)


def shapes_of(facts: Facts, spec: AuditSpec, step: int) -> Shapes:
    """The images as another step of the buckets would place them."""
    taught = [image for image in facts.taught if image.placement is not None]
    placed = assign([image.size for image in taught], spec.buckets.model_copy(update={"step": step}))
    rows = bucket_table(placed, spec.batch, repeats=[facts.repeats[image.name] for image in taught])
    short = {row.bucket for row in rows if row.images < spec.batch}
    pairs = list(zip(taught, placed, strict=True))
    return Shapes(
        step=step,
        placements={image.name: p for image, p in pairs},
        buckets=len(rows),
        over={image.name for image, p in pairs if p.lost_fraction > spec.limits.lost},
        far={image.name for image, p in pairs if p.lost_fraction > spec.limits.lost_badly},
        faces={image.name for image, p in pairs if _cuts_a_face(image, p)},
        short={image.name for image, p in pairs if p.bucket in short},
    )


def _better(facts: Facts, spec: AuditSpec, now: Shapes) -> Shapes | None:
    """The step that mends most and makes nothing worse, if there is one; of equals the one nearest to today's."""
    most = spec.limits.buckets

    def faults(shapes: Shapes) -> tuple[int, int, int]:
        return len(shapes.over | shapes.faces), max(0, shapes.buckets - most), len(shapes.short)

    found = []
    for step in STEPS:
        if step == now.step or step > spec.buckets.resolution:
            continue
        other = shapes_of(facts, spec, step)
        spares = other.over <= now.over and other.far <= now.far and other.faces <= now.faces
        if spares and all(new <= old for new, old in zip(faults(other), faults(now), strict=True)):
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


def _plan(shapes: Shapes | None) -> str:
    """The command that plans with another step."""
    return f"bakehouse plan {{plan}} --set buckets.step={shapes.step} -o {{recipe}}" if shapes else ""
