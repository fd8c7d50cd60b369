"""Problems of a set of triggers, and what each remedy costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bakehouse.captions.triggers.absorption_statistics import (
    Absorption,
    Exposure,
    ExposureSet,
    absorptions,
    captioned_shares,
    exposures_by_trigger,
    exposures_omitting,
    total_weight,
)
from bakehouse.core.message_text import counted, listed
from bakehouse.data.compile_captions import CompiledImage, inseparable_pairs, is_sentence
from bakehouse.data.tag_groups import excluded_groups, group_of, groups, plain
from bakehouse.data.triggers import Trigger

MIN_IMAGES = 8
"""Fewest images from which a trigger is learned reliably."""
MIN_IMAGES_TO_SPLIT = 80
"""Fewest images that can be split in halves, with and without a trigger, so that both halves suffice."""
OMITTED_EVERYWHERE = 0.85
"""Share of all exposures from which an omitted trait counts as omitted in every image."""
ALWAYS_CAPTIONED = 0.85
"""Share of a trigger's exposures from which a captioned tag shares the trigger's meaning."""

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Remedy:
    """A way to resolve a finding, and its cost."""

    action: str
    setting: str
    """The setting that does it: `share = 0.5`."""
    images: int = 0
    """Images that have to be added."""
    exposures: float = 0.0
    """Additional exposures per epoch, if each word keeps as many as now."""


@dataclass(frozen=True)
class TriggerFinding:
    """One problem of the triggers; ids are stable."""

    id: str
    level: Level
    message: str
    triggers: tuple[str, ...] = ()
    remedies: tuple[Remedy, ...] = field(default=())


def findings(
    compiled: Sequence[CompiledImage], exposures: Sequence[Exposure], triggers: Sequence[Trigger]
) -> list[TriggerFinding]:
    """Return all findings, errors first."""
    absorbed = absorptions(exposures, triggers)
    by_trigger = exposures_by_trigger(exposures, triggers)
    found = [
        *_always_together(compiled, exposures, by_trigger),
        *_few_images(exposures, by_trigger),
        *_never_alone(exposures, by_trigger),
        *_omitted_everywhere(exposures, triggers, by_trigger, absorbed),
        *_unsuitable_tags(triggers),
        *_always_captioned(exposures, triggers),
        *_words_in_use(compiled, triggers),
        *_sentences(compiled),
    ]
    order: list[Level] = ["error", "warning", "note"]
    return sorted(found, key=lambda f: order.index(f.level))


def _always_together(
    compiled: Sequence[CompiledImage], exposures: Sequence[Exposure], by_trigger: Mapping[str, ExposureSet]
) -> Iterator[TriggerFinding]:
    for first, second in inseparable_pairs(compiled):
        images = _image_count(exposures, by_trigger[second])
        message = (
            f"{first!r} and {second!r} cannot be separated: all {images} images of one have the other too, so both "
            "words would mean both things"
        )
        remedies = _separating(first, second, exposures, by_trigger)
        yield TriggerFinding("D02", "error", message, (first, second), remedies)


def _separating(
    first: str, second: str, exposures: Sequence[Exposure], by_trigger: Mapping[str, ExposureSet]
) -> tuple[Remedy, ...]:
    images, weight = _image_count(exposures, by_trigger[second]), total_weight(exposures, by_trigger[second])
    missing = max(0, MIN_IMAGES_TO_SPLIT - images)
    available = f"{images} available, " + (f"{missing} missing" if missing else "enough")
    return (
        Remedy(
            f"split the images: half of them have {first!r} only, with the traits of {second!r} in the caption; this "
            f"needs {MIN_IMAGES_TO_SPLIT} or more images ({available}) and no more training time",
            f"share = 0.5 at {second!r}",
            images=missing,
        ),
        Remedy(
            f"train every image with two captions, with {second!r} and without it: no more images, {weight:g} more "
            "exposures per epoch",
            f"also_without = true at {second!r}",
            exposures=weight,
        ),
    )


def _few_images(exposures: Sequence[Exposure], by_trigger: Mapping[str, ExposureSet]) -> Iterator[TriggerFinding]:
    for word, own in by_trigger.items():
        if (images := _image_count(exposures, own)) < MIN_IMAGES:
            message = f"{word!r} has {counted(images, 'image')}; a trigger needs at least {MIN_IMAGES}"
            yield TriggerFinding("E01", "warning", message, (word,))
    for general, wide in by_trigger.items():
        for special, narrow in by_trigger.items():
            has_both = _images_with_and_without(exposures, narrow) > 0
            alone = MIN_IMAGES if has_both else _image_count(exposures, wide) - _image_count(exposures, narrow)
            if narrow < wide and alone < MIN_IMAGES:
                yield TriggerFinding(
                    "D03",
                    "warning",
                    f"{general!r} occurs without {special!r} in {alone} images; with fewer than {MIN_IMAGES} the "
                    "meanings of the two words mix",
                    (general, special),
                    _separating(general, special, exposures, by_trigger),
                )


def _never_alone(exposures: Sequence[Exposure], by_trigger: Mapping[str, ExposureSet]) -> Iterator[TriggerFinding]:
    """Yield triggers that always occur with one of several others, which together explain all their traits."""
    for general, wide in by_trigger.items():
        narrow = [t for t, own in by_trigger.items() if own < wide]
        alone = _image_count(exposures, wide.difference(*(by_trigger[t] for t in narrow)))
        if len(narrow) > 1 and alone < MIN_IMAGES:
            message = (
                f"{general!r} occurs alone in {alone} images; the others have {_quoted(narrow)} too. These words can "
                f"absorb all traits of {general!r}, so that it has little effect alone"
            )
            wanted = max(MIN_IMAGES, _image_count(exposures, wide) // (len(narrow) + 1))
            misc = Remedy(
                f"add a misc group: {wanted} images of {general!r} with other traits than theirs, in a folder that "
                "belongs to none of them",
                f"folders = [...] at {_quoted(narrow)}",
                images=wanted - alone,
            )
            yield TriggerFinding("D03", "warning", message, (general, *narrow), (misc,))


def _omitted_everywhere(
    exposures: Sequence[Exposure],
    triggers: Sequence[Trigger],
    by_trigger: Mapping[str, ExposureSet],
    absorbed: Mapping[str, Sequence[Absorption]],
) -> Iterator[TriggerFinding]:
    """Yield traits that are in all images and in no caption: the most general trigger absorbs them, or none."""
    whole = sum(e.weight for e in exposures)
    traits: dict[tuple[str | None, tuple[str, ...]], list[str]] = defaultdict(list)
    for trait, where in sorted(exposures_omitting(exposures).items()):
        is_everywhere = total_weight(exposures, where) >= OMITTED_EVERYWHERE * whole
        if not is_everywhere or any(trait in e.captioned for e in exposures):
            continue
        owners = [t for t, found in absorbed.items() if any(a.trait == trait for a in found)]
        widest = next((t for t in owners if len(by_trigger[t]) == len(exposures)), None)
        narrow = [t.word for t in triggers if t.takes(trait) and 0 < len(by_trigger.get(t.word, ())) < len(exposures)]
        if narrow if widest else len(narrow) > 1:
            traits[widest, tuple(narrow)].append(trait)
    for (widest, narrow_), names in traits.items():
        omitted = f"{_quoted(names)} is omitted from the captions of all groups ({_quoted(narrow_)})"
        if widest:
            message = f"{omitted}: {widest!r} absorbs it and brings it alone, the groups only have the rest"
        else:
            message = f"{omitted} and no trigger absorbs it: every image has it, so it will appear without any trigger"
        sizes = [_image_count(exposures, by_trigger[t]) for t in narrow_]
        words = (widest, *narrow_) if widest else narrow_
        yield TriggerFinding("D05", "warning", message, words, (_misc_group(names, widest, sizes),))


def _misc_group(traits: Sequence[str], widest: str | None, sizes: Sequence[int]) -> Remedy:
    images = max(MIN_IMAGES, min(sizes, default=MIN_IMAGES))
    of = f" of {widest!r}" if widest else ""
    return Remedy(
        f"add a misc group: {images} images{of} with other traits than {_quoted(traits)}, in a folder that belongs to "
        "none of the groups, so that their captions keep these tags",
        "folders = [...] at the groups",
        images=images,
    )


def _unsuitable_tags(triggers: Sequence[Trigger]) -> Iterator[TriggerFinding]:
    for trigger in triggers:
        reasons = excluded_groups(trigger.kind)
        for entry in trigger.absorbs:
            group = entry[1:] if entry.startswith("@") else group_of(entry)
            if group is not None and group in reasons:
                message = f"{trigger.word!r} absorbs {entry!r}, which a {trigger.kind} should not: {reasons[group]}"
                yield TriggerFinding("D06", "warning", message, (trigger.word,))


def _always_captioned(exposures: Sequence[Exposure], triggers: Sequence[Trigger]) -> Iterator[TriggerFinding]:
    for trigger in triggers:
        shares = captioned_shares(exposures, trigger.word)
        often = [t for t, share in shares.items() if share >= ALWAYS_CAPTIONED]
        appearance = sorted(t for t in often if group_of(t) is not None and group_of(t) != "background")
        rest = sorted(set(often) - set(appearance))
        if appearance:
            message = (
                f"{_quoted(appearance)} is in nearly every caption of {trigger.word!r}: prompts need it too, since "
                f"{trigger.word!r} alone brings only a part of it"
            )
            yield TriggerFinding("D04", "note", message, (trigger.word,))
        if rest:
            message = (
                f"{_quoted(rest)} is in nearly every caption of {trigger.word!r} and will appear with it unprompted"
            )
            yield TriggerFinding("D04", "warning", message, (trigger.word,))


def _words_in_use(compiled: Sequence[CompiledImage], triggers: Sequence[Trigger]) -> Iterator[TriggerFinding]:
    """Yield triggers that already mean something: tags of these captions, or of the tag groups."""
    tags = {plain(t) for c in compiled for w in c.wordings for t in w.said}
    tags |= {word for words in groups().values() for word in words}
    for trigger in triggers:
        if plain(trigger.word) in tags:
            message = f"{trigger.word!r} is also a tag with a meaning of its own; choose a word without one, like zwx"
            yield TriggerFinding("D08", "warning", message, (trigger.word,))


def _sentences(compiled: Sequence[CompiledImage]) -> Iterator[TriggerFinding]:
    prose = [c for c in compiled if any(is_sentence(t) for w in c.wordings for t in w.said)]
    if prose:
        first = prose[0].record.path.name
        message = f"{counted(len(prose), 'caption')} with sentences (first: {first}): nothing is omitted from sentences"
        yield TriggerFinding("C14", "warning", message)


def _image_count(exposures: Sequence[Exposure], subset: ExposureSet) -> int:
    return len({exposures[i].image for i in subset})


def _images_with_and_without(exposures: Sequence[Exposure], subset: ExposureSet) -> int:
    """Return how many images are exposed both inside and outside of `subset`: they separate two triggers too."""
    inside = {exposures[i].image for i in subset}
    return len({e.image for i, e in enumerate(exposures) if e.image in inside and i not in subset})


def _quoted(words: Sequence[str]) -> str:
    return listed([repr(w) for w in words])
