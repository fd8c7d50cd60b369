"""A: files. What stops a training, or is decoded differently from what a viewer shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import CheckFinding, image_findings, percent
from bakehouse.audit.facts import Facts, ImageFacts
from bakehouse.core.message_text import counted
from bakehouse.data.image_header import ImageHeader
from bakehouse.data.scan import stem_of


def _headers(facts: Facts) -> Iterator[tuple[ImageFacts, ImageHeader]]:
    for image in facts.usable:
        if image.header is not None:
            yield image, image.header


def unreadable(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """A01: images that cannot be read."""
    bad = {i.name: i.problem for i in facts.images if i.problem and not i.oversized}
    yield from image_findings(bad, "{n} cannot be read: other trainers stop, or train on a half-grey image")


def too_large(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """A02: images too large to decode safely."""
    bad = {i.name: i.problem for i in facts.images if i.oversized}
    yield from image_findings(bad, "{n} not decoded: too large for the memory")


def wrong_extension(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """A03: files whose extension names another format than their content."""
    bad = {
        i.name: f"is {h.format}, named {i.path.suffix or 'without an extension'}"
        for i, h in _headers(facts)
        if not i.named_right
    }
    yield from image_findings(bad, "{n} with the extension of another format: some trainers skip or refuse such files")


def same_stem(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """A04: images in one folder that differ only in their extension."""
    stems: dict[tuple[str, str], list[str]] = defaultdict(list)
    for image in facts.usable:
        stems[str(image.path.parent), stem_of(image.path)].append(image.name)
    twins = [names for names in stems.values() if len(names) > 1]
    notes = {
        name: f"shares its name with {', '.join(n for n in names if n != name)}" for names in twins for name in names
    }
    why = f"{counted(len(twins), 'name')} used by several images: they share one caption, and in other trainers one"
    yield from image_findings(notes, f"{why} cache")


def foreign_files(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """A05: files of other programs, and caches older than their image."""
    if facts.foreign_files:
        why = f"{counted(len(facts.foreign_files), 'file')} of other programs, which some tools take for images"
        yield CheckFinding(why, facts.foreign_files)
    if facts.stale_caches:
        why = f"{counted(len(facts.stale_caches), 'cache')} older than the image: the old image would be trained"
        yield CheckFinding(why, facts.stale_caches, level="error", key="cache")


def bad_links(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """A06: links that are broken, lead in a circle, or lead out of the folder."""
    outside = {name: why for name, why in facts.bad_links.items() if "out of the folder" in why}
    broken = {name: why for name, why in facts.bad_links.items() if name not in outside}
    if broken:
        yield CheckFinding(f"{counted(len(broken), 'link')} broken or circular", tuple(broken), broken)
    if outside:
        why = f"{counted(len(outside), 'link')} out of the folder: a copy of the dataset would have other content"
        yield CheckFinding(why, tuple(outside), outside, level="warning", key="outside")


def exif_rotation(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """A07: images that are upright only by their EXIF orientation."""
    bad = {i.name: f"EXIF orientation {h.orientation}" for i, h in _headers(facts) if h.orientation != 1}
    yield from image_findings(bad, "{n} rotated only by EXIF: some trainers ignore it and train the image sideways")


def color_profiles(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """A08: images with a colour profile other than sRGB."""
    bad = {i.name: h.profile for i, h in _headers(facts) if not h.srgb}
    why = "{n} with a colour profile other than sRGB: trainers that ignore profiles see wrong colours"
    yield from image_findings(bad, why)


def deep_grayscale(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """A09: greyscale images of 16 bits or floating point."""
    bad = {i.name: f"mode {h.mode}" for i, h in _headers(facts) if h.deep}
    yield from image_findings(bad, "{n} in 16-bit or floating-point greyscale: other trainers read all white or black")


def cmyk(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """A10: CMYK images."""
    bad = {i.name: "CMYK" for i, h in _headers(facts) if h.mode == "CMYK"}
    yield from image_findings(bad, "{n} in CMYK (print colours): other trainers read other colours")


def transparent(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """A11: images with transparent pixels."""
    found = [(i, i.pixels) for i in facts.usable if i.pixels is not None and i.pixels.transparent > 0]
    hiding = sum(1 for _, p in found if p.hidden_color > 0)
    why = "{n} with transparent pixels"
    if hiding:
        why += f"; {hiding} of them with hidden colours under it, which trainers that drop alpha will learn"
    notes = {
        i.name: f"{percent(p.transparent)} not opaque, {percent(p.hidden_color)} with hidden colours" for i, p in found
    }
    yield from image_findings(notes, why)


def animated(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """A12: images with several frames."""
    bad = {i.name: f"{counted(h.frames, 'frame')}, {i.frames[0]} different" for i, h in _headers(facts) if h.frames > 1}
    yield from image_findings(bad, "{n} animated: only the first frame is trained")


def private_metadata(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """A13: images whose metadata tell where they were taken or what generated them."""
    located = {i.name: "GPS position" for i, h in _headers(facts) if h.gps}
    generated = {i.name: f"generated by {h.generator}" for i, h in _headers(facts) if h.generator}
    why = "{n} with a GPS position in the metadata: it is published with the dataset"
    yield from image_findings(located, why, key="gps")
    why = "{n} generated by a program, by its metadata: the faults of generated images are learned too"
    yield from image_findings(generated, why, key="generator")
