"""B: pixels. What the training would see of each image, and what it would learn beside the subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import Hit, Level, each, percent
from bakehouse.audit.crop_candidates import possible, stem, views_of
from bakehouse.audit.image_facts import Facts, ImageFacts
from bakehouse.audit.image_stats import alike
from bakehouse.core.pluralize import counted, listed
from bakehouse.curation.clean.clean import KINDS
from bakehouse.data.buckets import Placement
from bakehouse.data.captions import split_tags
from bakehouse.data.tag_groups import plain
from bakehouse.vision.text_detection import TextRegion, mark_watermarks

_ENOUGH = 8
"""Of so many images a share says something."""


def _placed(facts: Facts) -> Iterator[tuple[ImageFacts, Placement]]:
    for image in facts.taught:
        if image.placement is not None:
            yield image, image.placement


def small(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B01."""
    limits = spec.limits
    bad = [(i, p) for i, p in _placed(facts) if p.scale > limits.enlarged]
    badly = {i.name: _enlarged(i, p) for i, p in bad if p.scale > limits.enlarged_badly}
    rest = {i.name: _enlarged(i, p) for i, p in bad if i.name not in badly}
    why = f"{{n}} to be enlarged more than {limits.enlarged_badly:g} times: that is invented, not restored"
    drop = 'bakehouse dataset drop {folder} "B01 far" {use}'
    advice = "or find larger copies"
    yield from each(badly, why, level="error", key="far", mend=drop, advice=advice)
    yield from each(rest, f"{{n}} smaller than {_square(spec)}, enlarged for the bucket")


def _square(spec: AuditSpec) -> str:
    return f"{spec.buckets.resolution} x {spec.buckets.resolution} pixels"


def _enlarged(image: ImageFacts, placement: Placement) -> str:
    return f"{image.size[0]} x {image.size[1]}, enlarged {placement.scale:.1f} times"


def borders(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B04."""
    found = {}
    for image, pixels in facts.measured():
        (width, height), (left, top, right, bottom) = image.size, pixels.border
        if max(left / width, right / width, top / height, bottom / height) > spec.limits.border:
            cut_ = (("left", left), ("above", top), ("right", right), ("below", bottom))
            found[image.name] = ", ".join(f"{n} px {side}" for side, n in cut_ if n)
    yield from each(found, "{n} with a border of one colour, which will be learned as a frame")


def blurred(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B05."""
    found = {i.name: f"sharpness {p.sharpness:.0f}" for i, p in facts.measured() if p.sharpness < spec.limits.sharpness}
    yield from each(found, f"{{n}} blurred at the size of the bucket (below {spec.limits.sharpness:g})")


def compressed(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B06."""
    found = {}
    for image, pixels in facts.measured():
        quality = image.header.jpeg_quality if image.header else None
        if quality is not None and quality < spec.limits.jpeg_quality:
            found[image.name] = f"JPEG quality {quality}"
        elif quality is None and pixels.blocks > spec.limits.blocks:
            found[image.name] = f"edges on the grid of 8 x 8 {1 + pixels.blocks:.1f} times as strong"
    yield from each(found, "{n} with the blocks of strong JPEG compression")


def grey(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B07."""
    measured = list(facts.measured())
    found = {i.name: f"colour {p.colour:.0f} of 255" for i, p in measured if p.colour < spec.limits.grey_colour}
    if not found:
        return
    share = len(found) / len(measured)
    why = f"{counted(len(found), 'image')} of {len(measured)} ({percent(share)}), monochrome"
    if share > spec.limits.grey_badly:
        level: Level = "warning" if spec.kind == "style" else "error"
        advice = "find images with colours; for a style that has none, say --kind style"
        yield Hit(f"{why}: there are no colours to learn", tuple(found), found, level, mend="", advice=advice)
    elif share > spec.limits.grey:
        yield Hit(f"{why}: pictures will come out pale", tuple(found), found, "warning")
    else:
        yield Hit(why, tuple(found), found, mend="")


# --- faces ------------------------------------------------------------------------------------------------------------


def small_faces(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B08."""
    least = spec.limits.face * spec.buckets.resolution / 512
    found = {}
    stems = {stem(image.name) for image in facts.usable}
    able = set()
    for image, placement in _placed(facts):
        # With a nearer view of it the face can be learned.
        if image.faces and stems.isdisjoint(views_of(image.name)):
            height = max(face.height for face in image.faces) * placement.resized[1]
            if height < least:
                found[image.name] = f"face {height:.0f} px high in {placement.bucket[0]} x {placement.bucket[1]}"
                able |= {image.name} if possible(image, stems, spec) else set()
    why = f"{{n}} with a face lower than {least:.0f} px in the bucket: it is learned as a blur"
    yield from each({name: note for name, note in found.items() if name in able}, why)
    rest = {name: note for name, note in found.items() if name not in able}
    advice = "find larger copies, or other images of the face: these have too few pixels for a nearer view"
    yield from each(rest, why, key="far", mend="", advice=advice)


_NO_FACE = ("out of frame", "faceless", "mannequin", "from behind", "no humans", "back of head", "head out", "back")


def face_count(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B10."""
    if spec.kind not in ("character", "outfits", "dreambooth"):
        return
    seen = [(i, len(i.faces)) for i in facts.taught if i.faces is not None]
    many = {i.name: f"{n} faces" for i, n in seen if n > 1}
    none = {i.name: "no face" for i, n in seen if n == 0 and not _faceless(i)}
    yield from each(many, "{n} with more than one face: the word will mean all of them", key="many")
    drop = 'bakehouse dataset drop {folder} "B10 none" {use}'
    yield from each(none, "{n} without a face that is found, and no tag says why", key="none", level="info", mend=drop)


def _faceless(image: ImageFacts) -> bool:
    return any(mark in plain(tag) for line in image.captions for tag in split_tags(line) for mark in _NO_FACE)


_FRAMINGS = {
    "portrait": ("portrait", "close-up", "head shot", "face focus", "bust"),
    "upper body": ("upper body", "half body"),
    "cowboy shot": ("cowboy shot",),
    "full body": ("full body", "wide shot"),
}
_FACE_HEIGHTS = ((2.7, "portrait"), (4.3, "upper body"), (6.5, "cowboy shot"))
"""How many faces high an image is, at most; higher ones show the full body."""


def framing(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B11."""
    if spec.kind in ("style", "object"):
        return
    known = {i.name: view for i in facts.taught if (view := framing_of(i))}
    if len(known) < _ENOUGH:
        return
    counts = Counter(known.values())
    mix = ", ".join(f"{percent(n / len(known))} {view}" for view, n in counts.most_common())
    view, most = counts.most_common(1)[0]
    if most / len(known) > spec.limits.framing:
        missing = [v for v in _FRAMINGS if v not in counts] or [min(counts, key=lambda v: counts[v])]
        why = f"{mix}: pictures will come out as {view}; {listed(missing)} is missing"
        helps = _crops_help(facts, counts, spec)
        advice = "" if helps else f"find images of {listed(missing)}"
        files = tuple(name for name, v in known.items() if v == view)
        yield Hit(why, files, level="warning", mend=None if helps else "", advice=advice)
    else:
        yield Hit(mix, mend="")


def _crops_help(facts: Facts, counts: Counter[str], spec: AuditSpec) -> bool:
    """Whether with all crops that the images have in them no framing is too frequent."""
    stems = {stem(image.name) for image in facts.usable}
    after = counts + Counter(tag for image in facts.taught for tag in possible(image, stems, spec))
    return max(after.values()) <= spec.limits.framing * after.total()


def framing_of(image: ImageFacts) -> str:
    """By its tags, else by how large the face is; empty where neither says."""
    tags = [plain(tag) for line in image.captions for tag in split_tags(line)]
    said = next((view for view, words in _FRAMINGS.items() if any(w in tags for w in words)), "")
    if said or not image.faces:
        return said
    faces_high = 1 / max(face.height for face in image.faces)
    return next((view for most, view in _FACE_HEIGHTS if faces_high <= most), "full body")


# --- text -------------------------------------------------------------------------------------------------------------


def text(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B09."""
    read = [i for i in facts.taught if i.texts is not None]
    told = mark_watermarks({n: i.texts or () for n, i in enumerate(read)}, [i.size for i in read])
    foreign = {n: [t for t in lines if t.kind in KINDS] for n, lines in told.items()}
    yield from _cleaned(
        facts, read, foreign, "{n} with writing that is no part of the picture, which will be learned as a smear"
    )
    # An address that returns is a watermark too, whatever else it is.
    anything = {n: [replace(t, kind="text") for t in i.texts or ()] for n, i in enumerate(read)}
    same = mark_watermarks(anything, [i.size for i in read])
    returning = {n: [t for t in lines if t.kind == "watermark"] for n, lines in same.items()}
    if sum(map(bool, returning.values())) > spec.limits.same_place * len(read):
        why = "{n} with the same writing at the same place: a watermark is learned"
        level: Level = "error" if spec.kind == "style" else "warning"
        yield from _cleaned(facts, read, returning, why, level=level, key="watermark")
    signs = {n: [t for t in lines if t.kind == "text"] for n, lines in told.items()}
    why = "{n} with words on signs or clothes: tag them, or take them out"
    yield from _cleaned(facts, read, signs, why, level="info", key="signs", option=" --kind text")


def _cleaned(
    facts: Facts,
    read: Sequence[ImageFacts],
    found: Mapping[int, Sequence[TextRegion]],
    why: str,
    *,
    level: Level | None = None,
    key: str = "",
    option: str = "",
) -> Iterable[Hit]:
    """Text that `clean` paints over; on rough ground, where only a network can, it is left out of the loss."""
    notes = {n: listed([str(t) for t in lines], 3) for n, lines in found.items() if lines}
    rough = {n for n in notes if not facts.painter and any(t.box in read[n].rough for t in found[n])}
    smooth = {read[n].name: note for n, note in notes.items() if n not in rough}
    clean = f"bakehouse dataset clean {{folder}}{option}"
    yield from each(smooth, why, level=level, key=key, mend=clean)
    hard = {read[n].name: notes[n] for n in notes if n in rough}
    why = f"{why}; on rough ground, where painting would show"
    advice = "or `bakehouse models fetch big-lama`, which can paint there"
    yield from each(hard, why, level=level, key=f"{key} rough".strip(), mend=f"{clean} --mask-out", advice=advice)


# --- sameness ---------------------------------------------------------------------------------------------------------


def backgrounds(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B12."""
    measured = [(i, p) for i, p in facts.measured() if i.record is None or i.record.mask is None]
    if len(measured) < _ENOUGH or spec.kind == "style":
        return
    sets = alike([p.ring for _, p in measured], spec.limits.background_distance)
    number, most = Counter(sets).most_common(1)[0]
    if most > 1 and most / len(measured) > spec.limits.background:
        files = tuple(i.name for (i, _), s in zip(measured, sets, strict=True) if s == number)
        share = percent(most / len(measured))
        yield Hit(
            f"{counted(most, 'image')} of {len(measured)} ({share}) with one background, which will be learned", files
        )


_SOURCES = {
    "screen captures": ("anime screencap", "screencap", "anime screenshot", "screenshot", "anime coloring"),
    "manga": ("manga", "comic", "monochrome manga"),
    "3D": ("3d", "render", "mmd", "cgi"),
    "chibi": ("chibi", "super deformed"),
    "photographs": ("photo", "photograph", "realistic", "photorealistic", "cosplay photo"),
}
_OLD = ("1970s (style)", "1980s (style)", "1990s (style)", "retro artstyle", "retro", "1980s", "1990s", "old anime")


def sources(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """B14."""
    tags = {i.name: {plain(t) for line in i.captions for t in split_tags(line)} for i in facts.taught}
    for source, words in _SOURCES.items():
        files = tuple(name for name, found in tags.items() if not found.isdisjoint(words))
        if files:
            yield Hit(f"{counted(len(files), 'image')} tagged as {source}", files, key=source)
    old = tuple(name for name, found in tags.items() if not found.isdisjoint(_OLD))
    if old:
        why = f"{counted(len(old), 'image')} in an old style: flat colours are learned in a third of the steps"
        yield Hit(why, old, key="old")


def old_style(facts: Facts) -> bool:
    """Whether most images are tagged as of an old style: they need a third of the steps."""
    tagged = [i for i in facts.taught if any(plain(t) in _OLD for line in i.captions for t in split_tags(line))]
    return len(tagged) * 2 > len(facts.taught)
