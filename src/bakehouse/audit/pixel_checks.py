"""B: pixels. Quality of each image at training size, and what would be learned besides the subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import CheckFinding, image_findings, percent
from bakehouse.audit.crop_candidates import crop_names, possible_crops, stem
from bakehouse.audit.facts import Facts, ImageFacts
from bakehouse.audit.image_stats import cluster_outlines
from bakehouse.core.checks import Level
from bakehouse.core.message_text import counted, listed
from bakehouse.curation.clean.clean import KINDS
from bakehouse.curation.clean.tag_bubbles import BUBBLE_TAG
from bakehouse.data.buckets import Placement
from bakehouse.data.captions import split_tags
from bakehouse.data.tag_groups import plain
from bakehouse.vision.text_detection import TextRegion, mark_watermarks

_MIN_SAMPLE = 8
"""Fewest images of which a share is meaningful."""


def _placed(facts: Facts) -> Iterator[tuple[ImageFacts, Placement]]:
    for image in facts.train_images:
        if image.placement is not None:
            yield image, image.placement


def too_small(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B01: images smaller than their bucket."""
    limits = spec.limits
    bad = [(i, p) for i, p in _placed(facts) if p.scale > limits.enlarged]
    badly = {i.name: _enlarged(i, p) for i, p in bad if p.scale > limits.enlarged_badly}
    rest = {i.name: _enlarged(i, p) for i, p in bad if i.name not in badly}
    why = f"{{n}} enlarged over {limits.enlarged_badly:g} times for the bucket: the detail would be invented"
    drop = 'bakehouse dataset drop {folder} "B01 far" {use}'
    advice = "or find larger copies"
    yield from image_findings(badly, why, level="error", key="far", fix=drop, advice=advice)
    yield from image_findings(rest, f"{{n}} smaller than {_square(spec)}: enlarged for the bucket")


def _square(spec: AuditSpec) -> str:
    return f"{spec.buckets.resolution} x {spec.buckets.resolution} pixels"


def _enlarged(image: ImageFacts, placement: Placement) -> str:
    return f"{image.size[0]} x {image.size[1]}, enlarged {placement.scale:.1f} times"


def borders(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B04: images with a border of one colour."""
    found = {}
    for image, pixels in facts.measured():
        (width, height), (left, top, right, bottom) = image.size, pixels.border
        if max(left / width, right / width, top / height, bottom / height) > spec.limits.border:
            sides = (("left", left), ("top", top), ("right", right), ("bottom", bottom))
            found[image.name] = ", ".join(f"{n} px {side}" for side, n in sides if n)
    yield from image_findings(found, "{n} with a border of one colour: it is learned as a frame")


def blurred(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B05: images that are blurred at bucket size."""
    found = {i.name: f"sharpness {p.sharpness:.0f}" for i, p in facts.measured() if p.sharpness < spec.limits.sharpness}
    yield from image_findings(found, f"{{n}} blurred at bucket size (sharpness below {spec.limits.sharpness:g})")


def jpeg_artifacts(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B06: images with artefacts of strong JPEG compression."""
    found = {}
    for image, pixels in facts.measured():
        quality = image.header.jpeg_quality if image.header else None
        if quality is not None and quality < spec.limits.jpeg_quality:
            found[image.name] = f"JPEG quality {quality}"
        elif quality is None and pixels.blockiness > spec.limits.blocks:
            found[image.name] = f"edges on the 8 x 8 grid {1 + pixels.blockiness:.1f} times as strong"
    yield from image_findings(found, "{n} with block artefacts of strong JPEG compression")


def monochrome(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B07: images without colours."""
    measured = list(facts.measured())
    found = {i.name: f"chroma {p.chroma:.0f} of 255" for i, p in measured if p.chroma < spec.limits.grey_colour}
    if not found:
        return
    share = len(found) / len(measured)
    why = f"{counted(len(found), 'image')} of {len(measured)} ({percent(share)}) monochrome"
    if share > spec.limits.grey_badly:
        level: Level = "warning" if spec.kind == "style" else "error"
        advice = "find images with colours; for a monochrome style, pass --kind style"
        yield CheckFinding(f"{why}: the model learns no colours", tuple(found), found, level, fix="", advice=advice)
    elif share > spec.limits.grey:
        yield CheckFinding(f"{why}: generated images will have pale colours", tuple(found), found, "warning")
    else:
        yield CheckFinding(why, tuple(found), found, fix="")


# --- faces ------------------------------------------------------------------------------------------------------------


def small_faces(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B08: faces too small to learn."""
    least = spec.limits.face * spec.buckets.resolution / 512
    found = {}
    stems = {stem(image.name) for image in facts.usable}
    croppable = set()
    for image, placement in _placed(facts):
        # CaptionFilter a close-up of the face is in the dataset, the face can be learned.
        if image.faces and stems.isdisjoint(crop_names(image.name)):
            height = max(face.height for face in image.faces) * placement.resized[1]
            if height < least:
                found[image.name] = f"face {height:.0f} px high in {placement.bucket[0]} x {placement.bucket[1]}"
                croppable |= {image.name} if possible_crops(image, stems, spec) else set()
    why = f"{{n}} with a face under {least:.0f} px high in the bucket: too small to learn"
    yield from image_findings({name: note for name, note in found.items() if name in croppable}, why)
    rest = {name: note for name, note in found.items() if name not in croppable}
    advice = "find larger copies, or other images of the face: these have too few pixels for a close-up"
    yield from image_findings(rest, why, key="far", fix="", advice=advice)


_NO_FACE = ("out of frame", "faceless", "mannequin", "from behind", "no humans", "back of head", "head out", "back")


def face_count(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B10: images without a face or with several."""
    if spec.kind not in ("character", "outfits", "dreambooth"):
        return
    counts = [(i, len(i.faces)) for i in facts.train_images if i.faces is not None]
    many = {i.name: f"{n} faces" for i, n in counts if n > 1}
    none = {i.name: "no face" for i, n in counts if n == 0 and not _tagged_faceless(i)}
    yield from image_findings(many, "{n} with more than one face: the trigger would mean all of them", key="many")
    drop = 'bakehouse dataset drop {folder} "B10 none" {use}'
    yield from image_findings(
        none, "{n} without a detected face, and without a tag that explains it", key="none", level="info", fix=drop
    )


def _tagged_faceless(image: ImageFacts) -> bool:
    return any(mark in plain(tag) for line in image.captions for tag in split_tags(line) for mark in _NO_FACE)


_FRAMINGS = {
    "portrait": ("portrait", "close-up", "head shot", "face focus", "bust"),
    "upper body": ("upper body", "half body"),
    "cowboy shot": ("cowboy shot",),
    "full body": ("full body", "wide shot"),
}
_FACE_HEIGHTS = ((2.7, "portrait"), (4.3, "upper body"), (6.5, "cowboy shot"))
"""Framing by the height of the image in face heights, at most; above the last it is a full body."""


def framing(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B11: the framings and how many images have each."""
    if spec.kind in ("style", "object"):
        return
    known = {i.name: view for i in facts.train_images if (view := framing_of(i))}
    if len(known) < _MIN_SAMPLE:
        return
    counts = Counter(known.values())
    mix = ", ".join(f"{percent(n / len(known))} {view}" for view, n in counts.most_common())
    view, most = counts.most_common(1)[0]
    if most / len(known) > spec.limits.framing:
        missing = [v for v in _FRAMINGS if v not in counts] or [min(counts, key=lambda v: counts[v])]
        verb = "is" if len(missing) == 1 else "are"
        why = f"{mix}: generated images will tend to {view}; {listed(missing)} {verb} missing"
        helps = _crops_balance(facts, counts, spec)
        advice = "" if helps else f"find images of {listed(missing)}"
        files = tuple(name for name, v in known.items() if v == view)
        yield CheckFinding(why, files, level="warning", fix=None if helps else "", advice=advice)
    else:
        yield CheckFinding(mix, fix="")


def _crops_balance(facts: Facts, counts: Counter[str], spec: AuditSpec) -> bool:
    """Return whether no framing is too frequent once all possible crops have been added."""
    stems = {stem(image.name) for image in facts.usable}
    after = counts + Counter(tag for image in facts.train_images for tag in possible_crops(image, stems, spec))
    return max(after.values()) <= spec.limits.framing * after.total()


def framing_of(image: ImageFacts) -> str:
    """Return an image's framing by its tags, else by the height of its largest face; empty if neither is known."""
    tags = [plain(tag) for line in image.captions for tag in split_tags(line)]
    tagged = next((view for view, words in _FRAMINGS.items() if any(w in tags for w in words)), "")
    if tagged or not image.faces:
        return tagged
    faces_high = 1 / max(face.height for face in image.faces)
    return next((view for most, view in _FACE_HEIGHTS if faces_high <= most), "full body")


# --- text -------------------------------------------------------------------------------------------------------------


def text(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B09: images with text or watermarks."""
    read = [i for i in facts.train_images if i.texts is not None]
    classified = mark_watermarks({n: i.texts or () for n, i in enumerate(read)}, [i.size for i in read])
    overlaid = {
        n: [t for t in lines if t.kind in KINDS and not _is_tagged_bubble(t, read[n])]
        for n, lines in classified.items()
    }
    why = "{n} with overlaid text (signature, watermark, caption): it is learned as a smear"
    yield from _text_findings(facts, read, overlaid, why)
    # TextRegion that recurs in one position is a watermark, whatever it says.
    anything = {n: [replace(t, kind="text") for t in i.texts or ()] for n, i in enumerate(read)}
    same = mark_watermarks(anything, [i.size for i in read])
    recurring = {n: [t for t in lines if t.kind == "watermark"] for n, lines in same.items()}
    if sum(map(bool, recurring.values())) > spec.limits.same_place * len(read):
        why = "{n} with the same text in the same position: the watermark is learned"
        level: Level = "error" if spec.kind == "style" else "warning"
        yield from _text_findings(facts, read, recurring, why, level=level, key="watermark")
    signs = {n: [t for t in lines if t.kind == "text"] for n, lines in classified.items()}
    why = "{n} with text on signs or clothes: tag it, or remove it"
    yield from _text_findings(facts, read, signs, why, level="info", key="signs", option=" --kind text")


def _is_tagged_bubble(text: TextRegion, image: ImageFacts) -> bool:
    """Return whether a speech bubble on a busy background is named in the image's caption, as `clean` does it."""
    if text.kind != "bubble" or text.box not in image.busy_texts:
        return False
    return any(plain(tag) == BUBBLE_TAG for line in image.captions for tag in split_tags(line))


def _text_findings(
    facts: Facts,
    read: Sequence[ImageFacts],
    found: Mapping[int, Sequence[TextRegion]],
    why: str,
    *,
    level: Level | None = None,
    key: str = "",
    option: str = "",
) -> Iterable[CheckFinding]:
    """Yield findings of text that `clean` fills; on a busy background without an inpainter it is masked out instead."""
    notes = {n: listed([str(t) for t in lines], 3) for n, lines in found.items() if lines}
    busy = {n for n in notes if not facts.has_inpainter and any(t.box in read[n].busy_texts for t in found[n])}
    smooth = {read[n].name: note for n, note in notes.items() if n not in busy}
    clean = f"bakehouse dataset clean {{folder}}{option}"
    yield from image_findings(smooth, why, level=level, key=key, fix=clean)
    masked = {read[n].name: notes[n] for n in notes if n in busy}
    why = f"{why}; on a busy background, where filling would be visible"
    advice = "or `bakehouse models fetch big-lama`, an inpainting network for busy backgrounds"
    yield from image_findings(
        masked, why, level=level, key=f"{key} rough".strip(), fix=f"{clean} --mask-out", advice=advice
    )


# --- repetition -------------------------------------------------------------------------------------------------------


def repeated_background(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B12: a background that many images share."""
    measured = [(i, p) for i, p in facts.measured() if i.record is None or i.record.mask is None]
    if len(measured) < _MIN_SAMPLE or spec.kind == "style":
        return
    clusters = cluster_outlines([p.outline for _, p in measured], spec.limits.background_distance)
    number, most = Counter(clusters).most_common(1)[0]
    if most > 1 and most / len(measured) > spec.limits.background:
        files = tuple(i.name for (i, _), s in zip(measured, clusters, strict=True) if s == number)
        share = percent(most / len(measured))
        why = f"{counted(most, 'image')} of {len(measured)} ({share}) with the same background: it is learned too"
        yield CheckFinding(why, files)


_SOURCES = {
    "screen captures": ("anime screencap", "screencap", "anime screenshot", "screenshot", "anime coloring"),
    "manga": ("manga", "comic", "monochrome manga"),
    "3D": ("3d", "render", "mmd", "cgi"),
    "chibi": ("chibi", "super deformed"),
    "photographs": ("photo", "photograph", "realistic", "photorealistic", "cosplay photo"),
}
_RETRO = ("1970s (style)", "1980s (style)", "1990s (style)", "retro artstyle", "retro", "1980s", "1990s", "old anime")


def sources(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """B14: images of one source or style, by their tags."""
    tags = {i.name: {plain(t) for line in i.captions for t in split_tags(line)} for i in facts.train_images}
    for source, words in _SOURCES.items():
        files = tuple(name for name, found in tags.items() if not found.isdisjoint(words))
        if files:
            yield CheckFinding(f"{counted(len(files), 'image')} tagged as {source}", files, key=source)
    retro = tuple(name for name, found in tags.items() if not found.isdisjoint(_RETRO))
    if retro:
        why = f"{counted(len(retro), 'image')} in a retro style: flat colours are learned in a third of the steps"
        yield CheckFinding(why, retro, key="old")


def is_retro(facts: Facts) -> bool:
    """Return whether most images are tagged with a retro style, which needs a third of the steps."""
    tagged = [i for i in facts.train_images if any(plain(t) in _RETRO for line in i.captions for t in split_tags(line))]
    return len(tagged) * 2 > len(facts.train_images)
