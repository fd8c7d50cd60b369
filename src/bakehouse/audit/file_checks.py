"""A: files. What stops a training, or is read as another picture than the one that is seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import Hit, each, percent
from bakehouse.audit.image_facts import Facts, ImageFacts
from bakehouse.core.pluralize import counted
from bakehouse.data.image_header import ImageHeader
from bakehouse.data.scan import stem_of


def _headers(facts: Facts) -> Iterator[tuple[ImageFacts, ImageHeader]]:
    for image in facts.usable:
        if image.header is not None:
            yield image, image.header


def unreadable(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """A01."""
    bad = {i.name: i.problem for i in facts.images if i.problem and not i.oversized}
    yield from each(bad, "{n} cannot be read: other trainers stop there, or learn a grey half")


def too_large(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """A02."""
    bad = {i.name: i.problem for i in facts.images if i.oversized}
    yield from each(bad, "{n} not decoded: that would fill the memory")


def misnamed(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """A03."""
    bad = {
        i.name: f"is {h.format}, named {i.path.suffix or 'without an extension'}"
        for i, h in _headers(facts)
        if not i.named_right
    }
    yield from each(bad, "{n} of another format than the name says: trainers that go by names miss or refuse such")


def same_stem(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """A04."""
    stems: dict[tuple[str, str], list[str]] = defaultdict(list)
    for image in facts.usable:
        stems[str(image.path.parent), stem_of(image.path)].append(image.name)
    twins = [names for names in stems.values() if len(names) > 1]
    notes = {
        name: f"shares its name with {', '.join(n for n in names if n != name)}" for names in twins for name in names
    }
    why = f"{counted(len(twins), 'name')} of several images: they share one caption, and in other trainers one cache"
    yield from each(notes, why)


def junk(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """A05."""
    if facts.junk:
        yield Hit(f"{counted(len(facts.junk), 'file')} of other programs, which some tools take for images", facts.junk)
    if facts.stale:
        why = f"{counted(len(facts.stale), 'cache')} older than the image: the old picture would be trained"
        yield Hit(why, facts.stale, level="error", key="cache")


def links(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """A06."""
    outside = {name: why for name, why in facts.links.items() if "out of the folder" in why}
    astray = {name: why for name, why in facts.links.items() if name not in outside}
    if astray:
        yield Hit(f"{counted(len(astray), 'link')} in a circle or to nowhere", tuple(astray), astray)
    if outside:
        why = f"{counted(len(outside), 'link')} out of the folder: a copy of it would be another dataset"
        yield Hit(why, tuple(outside), outside, level="warning", key="outside")


def turned(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """A07."""
    bad = {i.name: f"EXIF orientation {h.orientation}" for i, h in _headers(facts) if h.orientation != 1}
    yield from each(bad, "{n} upright only by a note in EXIF: other trainers learn a picture lying down")


def profiles(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """A08."""
    bad = {i.name: h.profile for i, h in _headers(facts) if not h.srgb}
    yield from each(bad, "{n} with colours that are not sRGB: read without the profile, paler or stronger")


def deep_grey(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """A09."""
    bad = {i.name: f"mode {h.mode}" for i, h in _headers(facts) if h.deep}
    yield from each(bad, "{n} in 16-bit or float grey: other trainers read all white or all black")


def inks(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """A10."""
    bad = {i.name: "CMYK" for i, h in _headers(facts) if h.mode == "CMYK"}
    yield from each(bad, "{n} made for print (CMYK): other trainers read other colours")


def transparent(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """A11."""
    seen = [(i, i.pixels) for i in facts.usable if i.pixels is not None and i.pixels.clear > 0]
    hiding = sum(1 for _, p in seen if p.hidden > 0)
    why = "{n} with transparent pixels"
    if hiding:
        why += f"; under those of {hiding} lie hidden colours, which trainers that drop alpha will learn"
    yield from each(
        {i.name: f"{percent(p.clear)} not opaque, {percent(p.hidden)} hiding colours" for i, p in seen}, why
    )


def animated(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """A12."""
    bad = {
        i.name: f"{counted(h.frames, 'frame')}, {i.frames[0]} that differ" for i, h in _headers(facts) if h.frames > 1
    }
    yield from each(bad, "{n} animated: only the first frame is trained")


def telling(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """A13."""
    places = {i.name: "GPS position" for i, h in _headers(facts) if h.gps}
    made = {i.name: f"drawn by a program ({h.generator})" for i, h in _headers(facts) if h.generator}
    yield from each(places, "{n} with the place it was taken at: a dataset that is passed on tells it too", key="gps")
    yield from each(
        made, "{n} drawn by a program, by its metadata: what a model drew teaches its faults", key="generator"
    )
